-- The string at a key; where there is none, the one given, stored.
--
-- KEYS  1 the key   2 its lease, lease:{key}
-- ARGV  1 value   2 EX, PX, EXAT, PXAT or ""   3 its number
-- Returns  {value, 1} it stood there, {value, 0} it is the one given.
--
-- Atomic: of many that find nothing one stores, and all return what it stored. It is a write: a
-- load that runs for the key loses its lease first.

local value = redis.call('GET', KEYS[1])
if value then
  return {value, 1}
end
-- First: a script that has written already is allowed to pass maxmemory.
if ARGV[2] == '' then
  redis.call('SET', KEYS[1], ARGV[1])
else
  redis.call('SET', KEYS[1], ARGV[1], ARGV[2], ARGV[3])
end
redis.call('DEL', KEYS[2])
return {ARGV[1], 0}
