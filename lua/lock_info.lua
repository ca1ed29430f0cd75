-- What is known about a lock; never its token.
--
-- KEYS  1 lock:{resource}   2 fence:{resource}
-- ARGV  none
-- Returns  {held, ms, fence}: 1 or 0; the time left (-1: without an end, -2: nobody holds it); the
--          last fence given, as it stands there, or nil.
--
-- Atomic: the three belong to one moment, so that a free lock has no time left.

local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'table' then
  return holder -- no string: its error
end
local fence = redis.pcall('GET', KEYS[2])
if type(fence) == 'table' then
  return fence
end
return {holder and 1 or 0, redis.call('PTTL', KEYS[1]), fence}
