"""What happens to every request and every reply, and nothing else: the compiled path.

Plain Python, its types beside it in .pxd files; the build compiles these very files. Answers is a
client's queue of slots, fills keep what the near cache is given, LaneCore and SessionCore take the
bytes of a server and of a client. Whatever is not every request is in upstream/ and session/, whose
classes derive from these."""
