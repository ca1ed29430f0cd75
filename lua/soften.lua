-- Make a value stale: it stays for its grace at most, and what is being loaded is not stored.
--
-- KEYS  1 the key   2 its lease, lease:{key}
-- ARGV  1 the grace in milliseconds
-- Returns  1 made stale; 0 there was none, or it was stale already.
--
-- Atomic: the lease goes first, and no other PTTL may come between the look at it and the change.

redis.call('DEL', KEYS[2])
local lasts = redis.call('PTTL', KEYS[1])
if lasts == -1 or lasts > tonumber(ARGV[1]) then
  return redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return 0
