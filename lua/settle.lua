-- Give a lease up without a value; what is to be remembered takes its place.
--
-- KEYS  1 the key   2 its lease, lease:{key}
-- ARGV  1 token   2 "n" (there is no such thing), "e" and an error line, or "" for nothing
--       3 milliseconds to remember it   4 digest of the value that stood when the lease was taken
-- Returns  1 given up; 0 it was not ours any more.
--
-- Atomic: a lease that another has taken meanwhile must not be touched, and what turned out not to
-- exist goes away only if nobody has written it since.

if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '' then
  redis.call('DEL', KEYS[2])
else
  redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
end
if ARGV[2] == 'n' and ARGV[4] ~= '' then
  local value = redis.pcall('GET', KEYS[1])
  if type(value) == 'string' and redis.sha1hex(value) == ARGV[4] then
    redis.call('UNLINK', KEYS[1])
  end
end
return 1
