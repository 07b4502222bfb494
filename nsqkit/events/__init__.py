"""What an event is, and how it is read and written: types, codec, envelope stamp, body."""
