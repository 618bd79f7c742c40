#!lua
-- Enters members of a node or changes them, takes others out, and renews the node's lease.
--
-- KEYS  members, leases, seq; of a room also its own keys
-- ARGV  node, lease and linger in ms, PUBLISH or SPUBLISH, channel, whether the node stays (1
--       or 0), how many members are entered; their ids and JSON; then the ids of those who left
--
-- Answers whether the node's lease was known: if not, others were told that its members are
-- gone, and it has to enter them all again.

local node, lease, linger = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local gone = sweep(KEYS[1], KEYS[2], node)
local known = redis.call('ZSCORE', KEYS[2], node) and 1 or 0

local entered, first = {}, 8 + 2 * tonumber(ARGV[7])
for i = 8, first - 1, 2 do
  redis.call('HSET', KEYS[1], node .. '/' .. ARGV[i], ARGV[i + 1])
  entered[#entered + 1] = ARGV[i + 1]
end
local removed = 0
for i = first, #ARGV do
  if redis.call('HDEL', KEYS[1], node .. '/' .. ARGV[i]) == 1 then
    removed = removed + 1
    gone[#gone + 1] = '"' .. ARGV[i] .. '"'
  end
end

local stays = ARGV[6] == '1'
if not stays then
  -- It does not know of members that are just being entered.
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if string.sub(field, 1, #node + 1) == node .. '/' then stays = true break end
  end
end
tell(KEYS[3], ARGV[4], ARGV[5], node, entered, gone)
if stays then
  renew(KEYS, node, lease, linger)
else
  redis.call('ZREM', KEYS[2], node)
  if removed > 0 and redis.call('HLEN', KEYS[1]) == 0 then
    for i = 4, #KEYS do redis.call('PEXPIRE', KEYS[i], whole(linger)) end
  end
end
return known
