-- Take the lease on a key, or learn why not.
--
-- KEYS  1 the key   2 its lease, lease:{key}
-- ARGV  1 token (begins with "t")   2 milliseconds
--       3 "fresh": also where a value stands or a load has failed lately; "mine": a client's own
--         lease, which knows no failures; "": a load
--       4 "quiet": do not send the value
--       5 of a load behind its readers: milliseconds. Where the value lasts no longer its lease may
--         be taken; where it lasts longer somebody has stored anew, and where it is gone nobody
--         has asked for another
-- Returns  {1, value}   there is a value (false with "quiet"), or none to be loaded behind
--          {2, digest}  the lease is yours; digest of the value that stands, "" for none
--          {3, ms}      another holds it, for so long at most
--          {4}          known not to exist (memory of a load)
--          {5, line}    a load has failed lately: its error
--
-- Atomic: between reading the key and taking the lease a fill would be missed, and loaded again.
-- All keys are read on every path that waits or loads: the caller's connection tracks them.

local value = redis.call('GET', KEYS[1])
if ARGV[5] then
  local ttl = redis.call('PTTL', KEYS[1]) -- -1: it lasts, -2: it is gone
  if ttl < 0 or ttl > tonumber(ARGV[5]) then
    return {1, false}
  end
elseif value and ARGV[3] ~= 'fresh' then
  return {1, ARGV[4] ~= 'quiet' and value}
end
local taken = redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2])
-- Behind the SET, so that our own change of it is no news to us.
local lease = redis.call('GET', KEYS[2])
if not taken then
  local kind = string.sub(lease, 1, 1)
  if kind ~= 'n' and kind ~= 'e' then
    return {3, redis.call('PTTL', KEYS[2])}
  end
  if ARGV[3] == '' then
    if kind == 'n' then
      return {4}
    end
    return {5, string.sub(lease, 2)}
  end
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
end
return {2, value and redis.sha1hex(value) or ''}
