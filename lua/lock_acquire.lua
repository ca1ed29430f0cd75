-- Take a lock, or learn for how long another holds it.
--
-- KEYS  1 lock:{resource}, the bare token of the holder   2 fence:{resource}, the last fence given
--       3 fence:{resource}:grant, the nonce of the call that a named token's grant is of
-- ARGV  1 token   2 milliseconds to hold it   3 milliseconds to keep the fence
--       4 "mine": only if this token holds it already; "": also if it is free
--       5 nonce of the call, where its client named the token; "": the token is known to nobody yet
-- Returns  {1, fence, 1}  it is yours, and nobody but this call has asked for it since; the fence
--                         as it stands there, in digits
--          {1, fence, 0}  it was yours already: the same fence, and the time begins anew
--          {0, ms}        another holds it, for so long at most; -1: without an end, -2: nobody does
--
-- Atomic: of many that find it free one takes it, and no two of them get the same fence.
-- A client may send its token again through another proxy while its first call is on the way: the
-- grant is then also the second call's, and the first must not give it back. So a call that finds
-- the lock its token's takes the nonce of the one before away (lock_release.lua compares it).
-- The fence is at least the server's time, so that it grows also when its key has been lost.

local function next_fence()
  local last = redis.pcall('INCR', KEYS[2])
  if type(last) == 'table' then
    return last -- no number: its error
  end
  local time = redis.pcall('TIME')
  if time.err then
    return time -- a user who may not ask: nothing is left behind
  end
  local now = time[1] * 1000000 + time[2]
  if last < now then
    -- Below 2^53 a double is exact, and %.0f writes all of it; tostring would write 1.79e+15.
    local fence = string.format('%.0f', now)
    redis.call('SET', KEYS[2], fence, 'PX', ARGV[3])
    return fence
  end
  -- Others may have left a number here of which a double holds only a part: it is the server that
  -- counts.
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  return redis.call('GET', KEYS[2])
end

if ARGV[4] ~= 'mine' then
  local taken = redis.pcall('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2])
  if taken and taken.err then
    return taken
  end
  if taken then
    local fence = next_fence()
    if type(fence) == 'table' then
      redis.call('DEL', KEYS[1]) -- a lock without a fence would be nobody's
      return fence
    end
    if ARGV[5] ~= '' then
      redis.call('SET', KEYS[3], ARGV[5], 'PX', ARGV[2])
    end
    -- The caller's connection tracks what is read. Behind all writes, so that they are no news to
    -- it: Redis 7.0 tracks all KEYS from the first read on.
    redis.call('GET', KEYS[1])
    return {1, fence, 1}
  end
end

local holder = redis.pcall('GET', KEYS[1])
if type(holder) == 'table' then
  return holder -- no string: its error
end
if holder ~= ARGV[1] then
  return {0, redis.call('PTTL', KEYS[1])}
end
local fence = redis.pcall('GET', KEYS[2])
if type(fence) == 'table' then
  return fence
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local only = 0
if ARGV[5] ~= '' and redis.pcall('GET', KEYS[3]) == ARGV[5] then
  redis.call('PEXPIRE', KEYS[3], ARGV[2]) -- an earlier attempt of this call, whose reply was lost
  only = 1
else
  redis.call('DEL', KEYS[3])
end
if fence and string.find(fence, '^[1-9]%d*$') then
  redis.call('PEXPIRE', KEYS[2], ARGV[3])
  return {1, fence, only}
end
fence = next_fence() -- the one it was given is lost: a greater one
return type(fence) == 'table' and fence or {1, fence, only}
