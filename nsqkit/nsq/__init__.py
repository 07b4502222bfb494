"""The client side of nsqd and nsqlookupd: everything that uses pynsq. It knows nothing of handlers."""

from nsqkit.nsq.connection import Connection
from nsqkit.nsq.consumer import Consumer
from nsqkit.nsq.consumer_options import ConsumerOptions
from nsqkit.nsq.discovery import Endpoints, Source
from nsqkit.nsq.http import NsqdHttp
from nsqkit.nsq.identify import ConnectionOptions, IdentifyReply
from nsqkit.nsq.lookup import Lookup, LookupResult, Node
from nsqkit.nsq.message import Message
from nsqkit.nsq.publisher import NsqdPublisher, ensure_channel

__all__ = [
    "Connection",
    "ConnectionOptions",
    "Consumer",
    "ConsumerOptions",
    "Endpoints",
    "IdentifyReply",
    "Lookup",
    "LookupResult",
    "Message",
    "Node",
    "NsqdHttp",
    "NsqdPublisher",
    "Source",
    "ensure_channel",
]
