-- Let a server know of the fence that a grant of several servers has (locking/quorum.py).
--
-- KEYS  1 lock:{resource}   2 fence:{resource}
-- ARGV  1 token   2 the fence, in digits   3 milliseconds to keep it
-- Returns  1: the next fence of this server is greater than this one
--
-- Atomic: between the comparison and the SET another grant may raise it. Where the token holds the
-- lock the fence is the token's own and nobody has been told of it, so that it becomes the agreed
-- one, also where that is less: whoever asks again with the token is to get the same.

local last = redis.pcall('GET', KEYS[2])
if type(last) == 'table' then
  return last -- no string: its error
end
local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'table' then
  return holder
end
local given = ARGV[2]
-- By their digits: a double holds only a part of long ones.
local less = not last or #last < #given or (#last == #given and last < given)
if less or holder == ARGV[1] then
  redis.call('SET', KEYS[2], given, 'PX', ARGV[3])
end
return 1
