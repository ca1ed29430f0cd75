-- Invalidate a tag: what was asked for before is refused when it comes to be stored, and the keys
-- under it are set apart, to be removed.
--
-- KEYS  1 the tag's keys, tag:{t}   2 when it was invalidated, tagepoch:{t}
--       3 the names of what is set apart, tagclosed:{t}   4 a name that none has, of that kind
-- ARGV  1 milliseconds to remember it: longer than any load lasts
-- Returns  the names of what is set apart: by us, by others who have not ended, or never will.
--
-- Atomic: who attaches a key behind it sees the epoch, and is in no part that is being removed; who
-- did so before it is in one. The epoch only grows, also where the key was lost.

local any = redis.call('ZCARD', KEYS[1]) > 0
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
redis.call('DEL', KEYS[2]) -- a script that has written already is allowed to pass maxmemory
redis.call('SET', KEYS[2], string.format('%.0f', math.max(now, last + 1)), 'PX', ARGV[1])
if any then
  local lasts = redis.call('PTTL', KEYS[1])
  local known = redis.call('PTTL', KEYS[3]) -- -2: there is none yet
  redis.call('RENAME', KEYS[1], KEYS[4])
  redis.call('SADD', KEYS[3], KEYS[4])
  if lasts == -1 then
    redis.call('PERSIST', KEYS[3])
  elseif known == -2 or (known >= 0 and known < lasts) then
    redis.call('PEXPIRE', KEYS[3], lasts)
  end
end
return redis.call('SMEMBERS', KEYS[3])
