-- Store a value that a client gave, if the lease that was taken for it still holds.
--
-- KEYS  1 the key   2 its lease, lease:{key}
-- ARGV  1 token   2 value   3 milliseconds to live, "" for ever   4 "NX": only where nothing stands
-- Returns  1 stored; 0 something stands there; -1 refused: the lease is gone.
--
-- Atomic: an invalidation between the comparison and the SET would be undone by it.

if redis.call('GET', KEYS[2]) ~= ARGV[1] then
  return -1
end
local stored = 1
-- First: a script that has written already is allowed to pass maxmemory.
if ARGV[4] == 'NX' and redis.call('EXISTS', KEYS[1]) == 1 then
  stored = 0
elseif ARGV[3] == '' then
  redis.call('SET', KEYS[1], ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
redis.call('DEL', KEYS[2])
return stored
