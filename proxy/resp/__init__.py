"""RESP: bytes in, values out, and bytes again.

The compiled kernel finds where frames end and which requests may share a lane; requests are read,
replies are written and taken apart here, in the words of the server. Pure: no connection, no clock,
no table of commands. Whoever has bytes in hand calls.
https://redis.io/docs/latest/develop/reference/protocol-spec/"""
