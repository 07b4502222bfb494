"""The rules of NSQ that consumers rely on, as one suite.

Not part of the contract: which of several consumers gets a message, message ids, sampling, compression,
and the precision of timers. Rules of time say 'not before', and that the message comes at all.
"""

from nsqkit.testing.contract.answer_rules import AnswerRules
from nsqkit.testing.contract.delivery_rules import DeliveryRules
from nsqkit.testing.contract.pause_rules import PauseRules
from nsqkit.testing.contract.topic_rules import TopicRules
from nsqkit.testing.contract.wire_rules import WireRules


class NsqContract(WireRules, PauseRules, AnswerRules, DeliveryRules, TopicRules):
    """The suite; derive from it and define the fixture ``engine``. pytest runs the last group first."""
