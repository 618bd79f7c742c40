-- What all scripts about rooms have in common, behind the functions of presence.
--
-- A room is three hashes beside its presence: `room` (creator, revision, last: the newest
-- event of the state, sums of sizes), `state` and `metadata` (key -> "<size> <JSON>", where size is what the
-- pair takes in the whole as JSON). All rooms are in the sorted set `rooms`, by the time at
-- which they were made, and in the hash `listed` (room -> JSON of owner and tags), which says
-- in which index sets they are: <listed>:owner:<id> and <listed>:tag:<tag>, or <listed>:many
-- for those with more tags than is good for an index. Rooms vanish by expiry, so the indexes
-- may name some that are gone.

local INDEX_MS = 24 * 3600 * 1000 -- of a cluster that is gone nothing stays for longer
local MOST_TAGS = 50

local function pairs_of(flat)
  local i = -1
  return function()
    i = i + 2
    if flat[i] then return flat[i], flat[i + 1] end
  end
end

local function json_of(value) return string.match(value, '^%d+ (.*)$') end

-- Returns whether the hash `key` stays within `most` bytes as one JSON object with the changes
-- in ARGV from `first` on (key, size, JSON; no JSON removes), how many bytes it takes, and the
-- sum of the sizes of its pairs. The sum so far is a field of `room`, called `sum`, so that a
-- change costs as much as itself and not the whole.
local function measure(key, first, most, room, sum)
  local bytes = tonumber(redis.call('HGET', room, sum) or '0')
  local count = redis.call('HLEN', key)
  for i = first, #ARGV, 3 do
    local old = redis.call('HGET', key, ARGV[i])
    if old then bytes, count = bytes - tonumber(string.match(old, '^%d+')), count - 1 end
    if ARGV[i + 2] ~= '' then bytes, count = bytes + tonumber(ARGV[i + 1]), count + 1 end
  end
  local total = 2 + bytes + math.max(0, count - 1)
  return total <= most, total, bytes
end

local function change(key, first, room, sum, bytes)
  for i = first, #ARGV, 3 do
    if ARGV[i + 2] == '' then
      redis.call('HDEL', key, ARGV[i])
    else
      redis.call('HSET', key, ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
    end
  end
  redis.call('HSET', room, sum, whole(bytes))
end

-- Lets `key` of a room live as long as the room; a hash that was empty has no expiry.
local function live_with(room, key)
  local left = redis.call('PTTL', room)
  if left >= 0 then redis.call('PEXPIRE', key, whole(math.max(1, left))) end
end

-- The indexes.

local function sets_of(listed, entry)
  local sets = {listed .. ':owner:' .. entry.owner}
  if entry.many then sets[2] = listed .. ':many' end
  for _, tag in ipairs(entry.tags) do sets[#sets + 1] = listed .. ':tag:' .. tag end
  return sets
end

local function unlist(rooms, listed, room)
  local known = redis.call('HGET', listed, room)
  if known then
    for _, set in ipairs(sets_of(listed, cjson.decode(known))) do redis.call('SREM', set, room) end
    redis.call('HDEL', listed, room)
  end
  redis.call('ZREM', rooms, room)
end

local function keep_listed(rooms, listed, sets)
  for _, key in ipairs(sets) do redis.call('PEXPIRE', key, whole(INDEX_MS)) end
  redis.call('PEXPIRE', rooms, whole(INDEX_MS))
  redis.call('PEXPIRE', listed, whole(INDEX_MS))
end

-- Puts a room into the indexes, at its old place if it has one.
local function list(rooms, listed, metadata, room, owner)
  local made = redis.call('ZSCORE', rooms, room) or micros
  local tags = redis.call('HGET', metadata, 'tags')
  local entry = {owner = owner, tags = tags and cjson.decode(json_of(tags)) or {}}
  if #entry.tags > MOST_TAGS then entry = {owner = owner, tags = {}, many = true} end
  unlist(rooms, listed, room)
  local sets = sets_of(listed, entry)
  for _, set in ipairs(sets) do redis.call('SADD', set, room) end
  redis.call('HSET', listed, room, cjson.encode(entry))
  redis.call('ZADD', rooms, made, room)
  keep_listed(rooms, listed, sets)
end

-- Makes a room that nothing is left of but perhaps its place in the indexes.
local function make(keys, rooms, listed, room, creator)
  unlist(rooms, listed, room)
  redis.call('DEL', keys[5], keys[6])
  redis.call('HSET', keys[4], 'creator', creator, 'revision', '0')
end
