-- Store a loaded value, if the lease that it was loaded under still holds.
--
-- KEYS  1 the key   2 its lease, lease:{key}
-- ARGV  1 token   2 value   3 EX, PX, EXAT, PXAT or ""   4 its number   5 digest of the value that
--       stood when the lease was taken, "" for none (take.lua)   6 milliseconds of the lease that
--       must be left, if any: what is known of the key elsewhere says that it is stored by then
-- Returns  1 stored; 0 refused: the lease is gone, or the key has been written since, or it is late.
--
-- Atomic: an invalidation between the comparison and the SET would be undone by it.

if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return 0
end
local value = redis.pcall('GET', KEYS[1])
local other = type(value) == 'table' -- somebody has made it something else than a string
local late = ARGV[6] and redis.call('PTTL', KEYS[2]) < tonumber(ARGV[6])
if late or other or (value and redis.sha1hex(value) or '') ~= ARGV[5] then
  redis.call('DEL', KEYS[2])
  return 0
end
-- First: a script that has written already is allowed to pass maxmemory.
if ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], ARGV[3], ARGV[4])
end
redis.call('DEL', KEYS[2])
return 1
