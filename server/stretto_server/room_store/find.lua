#!lua
-- Finds rooms, oldest first, a page at a time.
--
-- KEYS  rooms, listed
-- ARGV  node, PUBLISH or SPUBLISH; how the keys of rooms start; the user who asks; the owner
--       asked for ('' for any), fewest and most members; where the last page ended, the most
--       rooms to look at; then tags asked for
--
-- Answers where this page ended ('' for the end), and of each room its id, how many are in
-- it, and its metadata. Whether all tags are right is for the caller to see.

local MOST_FOUND = 100
local node, start, user = ARGV[1], ARGV[3], ARGV[4]
local fewest, most = tonumber(ARGV[6]), tonumber(ARGV[7])
local after, budget = tonumber(ARGV[8]), tonumber(ARGV[9])

-- Returns the rooms that are in all of some sets, each before the time at which it was made.
local function among(sets)
  local command = {'ZINTER', #sets + 1, KEYS[1]}
  for _, set in ipairs(sets) do command[#command + 1] = set end
  command[#command + 1] = 'WEIGHTS'
  for i = 0, #sets do command[#command + 1] = i == 0 and '1' or '0' end
  command[#command + 1] = 'WITHSCORES'
  return redis.call(unpack(command))
end

local function candidates()
  local owned, tagged = {}, {}
  if ARGV[5] ~= '' then owned[1] = KEYS[2] .. ':owner:' .. ARGV[5] end
  if #ARGV < 10 then
    if owned[1] then return among(owned) end
    return redis.call('ZRANGE', KEYS[1], '(' .. ARGV[8], '+inf', 'BYSCORE', 'LIMIT', 0, budget,
      'WITHSCORES')
  end
  for i = 10, #ARGV do tagged[#tagged + 1] = KEYS[2] .. ':tag:' .. ARGV[i] end
  local rows = {}
  for _, sets in ipairs({tagged, {KEYS[2] .. ':many'}}) do
    sets[#sets + 1] = owned[1]
    for room, made in pairs_of(among(sets)) do rows[#rows + 1] = {room, made} end
  end
  table.sort(rows, function(one, other) return tonumber(one[2]) < tonumber(other[2]) end)
  local flat = {}
  for _, row in ipairs(rows) do
    flat[#flat + 1] = row[1]
    flat[#flat + 1] = row[2]
  end
  return flat
end

local function is_inside(members)
  for _, record in ipairs(redis.call('HVALS', members)) do
    if cjson.decode(record).user.id == user then return true end
  end
  return false
end

local function key(part, room) return start .. ':' .. part .. ':' .. room end

local found, looked, ended, more = {}, 0, '0', false
for room, made in pairs_of(candidates()) do
  if tonumber(made) > after then
    if looked == budget or #found == MOST_FOUND then more = true break end
    looked, ended = looked + 1, made
    local members, leases = key('members', 'room:' .. room), key('leases', 'room:' .. room)
    if redis.call('EXISTS', key('room', room)) == 0 then
      unlist(KEYS[1], KEYS[2], room)
    else
      tell(key('seq', 'room:' .. room), ARGV[2], key('channel', 'room:' .. room), node, {},
        sweep(members, leases, node))
      local count = redis.call('HLEN', members)
      local private = redis.call('HGET', key('metadata', room), 'private')
      if count > 0 and count >= fewest and count <= most
        and (not private or json_of(private) ~= 'true' or is_inside(members)) then
        found[#found + 1] = {room, count, redis.call('HGETALL', key('metadata', room))}
      end
    end
  end
end
-- Without sets the candidates are one page themselves.
if not more and not (#ARGV < 10 and ARGV[5] == '' and looked == budget) then ended = '' end
return {ended, found}
