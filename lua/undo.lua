-- Take a fill back that a write came before: the server had done both when we heard of the write.
--
-- KEYS  1 the key
-- ARGV  1 the value that was filled
-- Returns  1 removed, 0 something else stands there.
--
-- Atomic: a value written after our fill is not ours to remove.

local value = redis.pcall('GET', KEYS[1])
if value == ARGV[1] then
  return redis.call('UNLINK', KEYS[1])
end
return 0
