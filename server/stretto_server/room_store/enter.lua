#!lua
-- Gives a member a place in a room, which is made where there is none.
--
-- KEYS  members, leases, seq, room, state, metadata; rooms, listed
-- ARGV  node, lease and linger in ms, PUBLISH or SPUBLISH, channel, room; id and JSON of the
--       member; who makes the room where there is none ('' for nobody), how many members it
--       takes unless its metadata say, whether the members are asked for (1 or 0); then
--       key, size and JSON of its first metadata

local node, room = ARGV[1], ARGV[6]
local keys = {KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]}
local gone = sweep(KEYS[1], KEYS[2], node)
local exists = redis.call('EXISTS', KEYS[4]) == 1
if not exists and ARGV[9] == '' then
  tell(KEYS[3], ARGV[4], ARGV[5], node, {}, gone)
  return {'missing'}
end

local field = node .. '/' .. ARGV[7]
if exists and redis.call('HEXISTS', KEYS[1], field) == 0 then
  local said = redis.call('HGET', KEYS[6], 'max_members')
  local most = tonumber(said and json_of(said) or ARGV[10])
  if redis.call('HLEN', KEYS[1]) >= most then
    tell(KEYS[3], ARGV[4], ARGV[5], node, {}, gone)
    return {'full', whole(most)}
  end
end
if not exists then
  make(keys, KEYS[7], KEYS[8], room, ARGV[9])
  local _, _, bytes = measure(KEYS[6], 12, 0, KEYS[4], 'metadata_bytes')
  change(KEYS[6], 12, KEYS[4], 'metadata_bytes', bytes)
  list(KEYS[7], KEYS[8], KEYS[6], room, ARGV[9])
end
redis.call('HSET', KEYS[1], field, ARGV[8])
tell(KEYS[3], ARGV[4], ARGV[5], node, {ARGV[8]}, gone)
renew(keys, node, tonumber(ARGV[2]), tonumber(ARGV[3]))

local members = ARGV[11] == '1' and redis.call('HGETALL', KEYS[1]) or {}
return {'entered', redis.call('HMGET', KEYS[4], 'creator', 'revision'),
  redis.call('HGETALL', KEYS[5]), redis.call('HGETALL', KEYS[6]),
  redis.call('GET', KEYS[3]), members}
