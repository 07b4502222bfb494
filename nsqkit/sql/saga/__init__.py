"""Sagas: transactions across services that go on, or are compensated, whatever stops on the way.

What follows what is decided in ``nsqkit.policy.saga``. This room reads and writes the rows of instances, and
makes the handlers through which events reach them.
"""

from nsqkit.sql.saga.saga import Saga
from nsqkit.sql.saga.steps import Call, CallContext, Refused, Send, Step

__all__ = ["Call", "CallContext", "Refused", "Saga", "Send", "Step"]
