#!lua
-- Forgets entries up to version `floor`, but none above the snapshot; returns the head.
-- KEYS  meta, log, clients, snapshot, index
-- ARGV  epoch, floor
local FIELDS = {'epoch', 'version', 'hash', 'floor'}
local head = redis.call('HMGET', KEYS[1], unpack(FIELDS))
if not head[1] then return {'missing'} end
if head[1] ~= ARGV[1] then return {'epoch', head[1]} end
local kept = tonumber(redis.call('HGET', KEYS[4], 'version') or '0')
local floor = math.min(tonumber(ARGV[2]), kept)
if floor <= tonumber(head[4]) then return {'head', head} end
local id = string.format('%.0f-0', floor)
local entry = redis.call('XRANGE', KEYS[2], id, id)[1]
if not entry then return {'damaged', 'version ' .. id .. ' is missing from the log'} end
redis.call('HSET', KEYS[1], 'floor', string.format('%.0f', floor), 'floor_hash', entry[2][4])
redis.call('XTRIM', KEYS[2], 'MINID', string.format('%.0f-0', floor + 1))
return {'head', redis.call('HMGET', KEYS[1], unpack(FIELDS))}
