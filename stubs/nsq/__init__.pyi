from nsq import event as event
from nsq import protocol as protocol
from nsq.conn import AsyncConn as AsyncConn
