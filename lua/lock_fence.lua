-- Let a server know of the fence that a grant of several servers has (locking/quorum.py).
--
-- KEYS  1 lock:{resource}   2 fence:{resource}   3 fence:{resource}:grant (lock_acquire.lua)
-- ARGV  1 token   2 the fence, in digits   3 milliseconds to keep it
--       4 nonce of the call, where its client named the token; "": the token is known to nobody else
-- Returns  1: the next fence of this server is greater than this one
--
-- Atomic: between the comparison and the SET another grant may raise it. Where the grant is the
-- call's own, nobody has been told of the fence that stands here, and the agreed one takes its
-- place, also where that is less: whoever asks again with the token is to get the same.

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
local own = holder == ARGV[1] and (ARGV[4] == '' or redis.pcall('GET', KEYS[3]) == ARGV[4])
if less or own then
  redis.call('SET', KEYS[2], given, 'PX', ARGV[3])
end
return 1
