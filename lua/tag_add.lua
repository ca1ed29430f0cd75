-- Attach keys to a tag, and say when the tag was last invalidated.
--
-- KEYS  1 the tag's keys by when they end, tag:{t}   2 when it was invalidated, tagepoch:{t}
-- ARGV  1 milliseconds until the keys are stored, at most   2 "1": forget the keys that have ended
--       3... each key, EX, PX, EXAT, PXAT or "", and its number
-- Returns  {the epoch, milliseconds since}, {"", -1} for none.
--
-- Atomic: an invalidation behind it finds the keys; one before it shows in the epoch.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] == '1' then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
end
local lasts = redis.call('PTTL', KEYS[1]) -- -2: there is none yet
local longest = 0
for at = 3, #ARGV, 3 do
  local option = ARGV[at + 1]
  if option == '' then
    redis.call('ZADD', KEYS[1], 'GT', 'inf', ARGV[at])
    lasts = -1
  else
    local ends = tonumber(ARGV[at + 2])
    if option == 'EX' or option == 'EXAT' then
      ends = ends * 1000
    end
    if option == 'EX' or option == 'PX' then
      ends = ends + now
    end
    -- 2^52 ms: exact as a score, and no date that a server refuses.
    ends = math.min(ends + tonumber(ARGV[1]), 4503599627370496)
    redis.call('ZADD', KEYS[1], 'GT', string.format('%.0f', ends), ARGV[at])
    longest = math.max(longest, ends)
  end
end
-- Lengthened only: other keys of the tag may last longer.
if lasts == -1 then
  redis.call('PERSIST', KEYS[1])
elseif lasts == -2 or now + lasts < longest then
  redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', longest))
end
local epoch = redis.call('GET', KEYS[2])
if not epoch then
  return {'', -1}
end
return {epoch, math.max(0, math.floor(now - (tonumber(epoch) or 0) / 1000))}
