#!lua
-- Keeps a snapshot if it is newer than the kept one and of this history.
-- KEYS  meta, log, clients, snapshot, index
-- ARGV  epoch, version, hash, text
local head = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'floor', 'floor_hash')
if head[1] ~= ARGV[1] then return {'passed over'} end
local version = tonumber(ARGV[2])
local kept = tonumber(redis.call('HGET', KEYS[4], 'version') or '0')
if version <= kept or version > tonumber(head[2]) then return {'passed over'} end
local hash = head[4]
if version ~= tonumber(head[3]) then
  local id = string.format('%.0f-0', version)
  local entry = redis.call('XRANGE', KEYS[2], id, id)[1]
  hash = entry and entry[2][4]
end
if hash ~= ARGV[3] then return {'passed over'} end
redis.call('HSET', KEYS[4], 'version', ARGV[2], 'hash', ARGV[3], 'text', ARGV[4])
return {'kept'}
