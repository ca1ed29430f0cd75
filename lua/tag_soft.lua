-- Refuse what was asked for under a tag before, and leave its keys where they are.
--
-- KEYS  1 when the tag was invalidated, tagepoch:{t}
-- ARGV  1 milliseconds to remember it: longer than any load lasts
-- Returns  the new epoch.
--
-- Atomic: the epoch only grows, also where the key was lost; of two at once each is a new one.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local last = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
local epoch = string.format('%.0f', math.max(now, last + 1))
redis.call('DEL', KEYS[1]) -- a script that has written already is allowed to pass maxmemory
redis.call('SET', KEYS[1], epoch, 'PX', ARGV[1])
return epoch
