-- Let the time of a lock begin anew that is kept for a client for as long as it stays.
--
-- KEYS  1 lock:{resource}   2 fence:{resource}   3 fence:{resource}:grant (lock_acquire.lua)
-- ARGV  1 token   2 milliseconds to hold it   3 milliseconds to keep the fence
--       4 nonce of the call that keeps it; "": the token is known to nobody else
--       5 "claim": from now on that call keeps it, whoever did before; "": only if it still does
-- Returns  1 done; 0 it is not this token's, or not this call's to keep. It is never revived.
--
-- Atomic: between the comparisons and the PEXPIRE it may end, and become another's, or a client may
-- ask with its token again through another proxy: then the lock is that call's, and the end of the
-- earlier client must not give it back (lock_release.lua compares the nonce).

local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'table' then
  return holder -- no string: its error
end
if holder ~= ARGV[1] then
  return 0
end
if ARGV[4] ~= '' then
  if ARGV[5] ~= 'claim' and redis.pcall('GET', KEYS[3]) ~= ARGV[4] then
    return 0
  end
  redis.call('SET', KEYS[3], ARGV[4], 'PX', ARGV[2])
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
