-- Attach a key to a tag, and say when the tag was last invalidated.
--
-- KEYS  1 the tag's keys by when they end, tag:{t}   2 when it was invalidated, tagepoch:{t}
-- ARGV  1 the key   2 EX, PX, EXAT, PXAT or ""   3 its number   4 milliseconds until the key is
--       stored, at most   5 "1": forget the keys that have ended
-- Returns  {the epoch, milliseconds since}, {"", -1} for none.
--
-- Atomic: an invalidation behind it finds the key; one before it shows in the epoch.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends
if ARGV[2] == '' then
  ends = 'inf'
else
  ends = tonumber(ARGV[3])
  if ARGV[2] == 'EX' or ARGV[2] == 'EXAT' then
    ends = ends * 1000
  end
  if ARGV[2] == 'EX' or ARGV[2] == 'PX' then
    ends = ends + now
  end
  -- 2^52 ms: exact as a score, and no date that a server refuses.
  ends = math.min(ends + tonumber(ARGV[4]), 4503599627370496)
end
if ARGV[5] == '1' then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
end
local lasts = redis.call('PTTL', KEYS[1]) -- -2: there is none yet
local score = ends == 'inf' and 'inf' or string.format('%.0f', ends)
redis.call('ZADD', KEYS[1], 'GT', score, ARGV[1])
-- Lengthened only: other keys of the tag may last longer.
if ends == 'inf' then
  redis.call('PERSIST', KEYS[1])
elseif lasts == -2 or (lasts >= 0 and now + lasts < ends) then
  redis.call('PEXPIREAT', KEYS[1], score)
end
local epoch = redis.call('GET', KEYS[2])
if not epoch then
  return {'', -1}
end
return {epoch, math.max(0, math.floor(now - (tonumber(epoch) or 0) / 1000))}
