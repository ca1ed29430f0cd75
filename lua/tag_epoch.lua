-- Begin to invalidate a tag: what was asked for before is refused when it comes to be stored.
--
-- KEYS  1 the tag's keys, tag:{t}   2 when it was invalidated, tagepoch:{t}
-- ARGV  1 milliseconds to remember it: longer than any load lasts
-- Returns  how many keys of the tag have not ended.
--
-- Atomic: the epoch only grows, also where the key was lost; of two at once each is a new one.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('GET', KEYS[2]) or '0') or 0
redis.call('SET', KEYS[2], string.format('%.0f', math.max(now, last + 1)), 'PX', ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', math.floor(now / 1000))
return redis.call('ZCARD', KEYS[1])
