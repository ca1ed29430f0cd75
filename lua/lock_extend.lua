-- Let a lock's time begin anew.
--
-- KEYS  1 lock:{resource}   2 fence:{resource}   3 fence:{resource}:grant (lock_acquire.lua)
-- ARGV  1 token   2 milliseconds to hold it   3 milliseconds to keep the fence
-- Returns  1 done; 0 it is not this token's: another holds it, or nobody. It is never revived.
--
-- Atomic: between the comparison and the PEXPIRE it may end, and become another's. The fence must
-- last longer than the lock: who asks again with the token that holds it gets the same one.
-- Who extends a lock has it: no call may give that grant back any more.

local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'table' then
  return holder -- no string: its error
end
if holder ~= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[3])
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
