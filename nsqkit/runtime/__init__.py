"""The data path of one message: consume, decode, dispatch, settle."""
