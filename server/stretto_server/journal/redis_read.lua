#!lua flags=no-writes
-- Returns the head, the history hash before version `first`, and entries from there on.
-- KEYS  meta, log, clients, snapshot, index
-- ARGV  epoch, first, most entries, most bytes of their JSON (negative: no limit)
-- A page may hold one entry more than fits, for the caller to cut.
local PIECE = 64
local function whole(number) return string.format('%.0f', number) end

local head = redis.call('HMGET', KEYS[1], 'epoch', 'version', 'hash', 'floor', 'floor_hash')
if not head[1] then return {'missing'} end
if head[1] ~= ARGV[1] then return {'epoch', head[1]} end
local first, limit, bytes = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local floor = tonumber(head[4])
if first <= floor or first > tonumber(head[2]) + 1 then return {'page', head, '', {}} end

local before = head[5]
if first - 1 > floor then
  local id = whole(first - 1) .. '-0'
  local found = redis.call('XRANGE', KEYS[2], id, id)
  before = found[1] and found[1][2][4] or ''
end

local entries, next_version, room = {}, first, bytes
while #entries < limit do
  local count = math.min(PIECE, limit - #entries)
  local piece = redis.call('XRANGE', KEYS[2], whole(next_version) .. '-0', '+', 'COUNT', count)
  for _, entry in ipairs(piece) do
    entries[#entries + 1] = entry
    room = room - #entry[2][2]
    if bytes >= 0 and room < 0 then return {'page', head, before, entries} end
  end
  if #piece < count then break end
  next_version = next_version + #piece
end
return {'page', head, before, entries}
