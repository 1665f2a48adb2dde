-- The distributed limiter: each decision is one call of this script, so nothing happens between looking and charging.
--
-- The rule is that of domain/slidingwindow.py and domain/ratelimit.py, over what Redis keeps; there are the drawings. All times are
-- whole microseconds of Redis's clock, made monotonic by the life (below). All keys begin with one hash tag: they live in one slot.
--
--   <tag>life            this memory of Redis: since when, the newest time, how many charges. Gone = Redis lost its memory
--   <tag>w:<key>         state of a window; ...:log its charges (time, units, time, units ...); ...:turns its bookings by time
--   <tag>w:<key>:<us>    the same for a second length under one key
--   <tag>turn:<id>       a booking            <tag>sent:<token>    what a call was answered, for when it is sent again
--
-- ARGV[1] operation, ARGV[2] the time where a test owns it, else ''.
local call, floor, max, min, spread = redis.call, math.floor, math.max, math.min, unpack
local pack, unpack = cmsgpack.pack, cmsgpack.unpack
local LOG_PAIRS, GRACE, SPACING, INF = 1024, 5000000, 1000, math.huge
local now, life
local opened = {}  -- windows of this call by name
local tag = string.sub(KEYS[1], 1, -5)

local function whole(number) return string.format('%.0f', number) end

-- The life. `skew` is added to Redis's clock, so that setting that clock back opens no window and stops none.

local function begin_life(id)
  life = { id = id, since = now, at = now, skew = life and life.skew or 0, charges = life and life.charges or 0, run = '' }
end

local function save_life()
  life.at = now
  call('SET', KEYS[1], pack(life.id, life.since, life.at, life.skew, life.charges, life.run))
end

-- True where Redis remembers.
local function read_life(id)
  now = tonumber(ARGV[2])
  if not now then
    local time = call('TIME')
    now = time[1] * 1000000 + time[2]
  end
  local raw = call('GET', KEYS[1])
  if not raw then
    begin_life(id)
    save_life()
    return false
  end
  life = {}
  life.id, life.since, life.at, life.skew, life.charges, life.run = unpack(raw)
  now = now + life.skew
  if now < life.at then
    life.skew, now = life.skew + life.at - now, life.at
  end
  return true
end

-- Windows.

local function fresh(name, length)
  local w = { name = name, log = name .. ':log', turns = name .. ':turns', length = length, used = 0, booked = 0, first = 0, last = 0,
    begins = 0, hint = -1, hint_room = -1, keep = 0 }
  w.grace = min(GRACE, floor(length / 4))
  opened[name] = w
  return w
end

local function stored(name)
  local raw = not opened[name] and call('GET', name)
  if raw then
    local length, used, booked, first, last, begins, hint, hint_room, keep = unpack(raw)
    local w = fresh(name, length)
    w.used, w.booked, w.first, w.last, w.begins, w.hint, w.hint_room, w.keep = used, booked, first, last, begins, hint, hint_room, keep
  end
  return opened[name]
end

local function save(w)
  local left = floor((max(w.keep, w.last + w.length, now) - now) / 1000) + 2000
  call('SET', w.name, pack(w.length, w.used, w.booked, w.first, w.last, w.begins, w.hint, w.hint_room, w.keep), 'PX', left)
  call('PEXPIRE', w.log, left)
  if w.booked > 0 then call('PEXPIRE', w.turns, left) end
end

-- Drop what has left the window, and bookings that nobody came for.
local function expire(w)
  while w.used > 0 and w.first + w.length <= now do
    local head, gone = call('LRANGE', w.log, 0, 127), 0
    if #head == 0 then w.used = 0 end
    for i = 1, #head, 2 do
      local at = tonumber(head[i])
      if at + w.length > now then
        w.first = at
        break
      end
      w.used, gone = w.used - head[i + 1], gone + 2
    end
    call('LTRIM', w.log, gone, -1)
    w.dirty = true
  end
  if w.booked > 0 and w.begins < now then
    local begun, begins = call('ZRANGEBYSCORE', w.turns, '-inf', whole(now), 'WITHSCORES'), nil
    for i = 1, #begun, 2 do
      local units, lapses = string.match(begun[i], '^(%d+) (%d+) ')
      if tonumber(lapses) < now then
        call('ZREM', w.turns, begun[i])
        w.booked, w.hint = w.booked - units, -1
      else
        begins = begins or tonumber(begun[i + 1])
      end
    end
    if not begins then
      local first = call('ZRANGE', w.turns, 0, 0, 'WITHSCORES')
      begins = tonumber(first[2] or 0)
      if not first[1] then w.booked = 0 end
    end
    w.begins, w.dirty = begins, true
  end
end

-- The window of a level. A second length under one key, at once or after a reload, is a window of its own that begins with what
-- the first has seen: a changed setting must not open it.
local function window(name, length, limit)
  local w = stored(name)
  if not w or w.length ~= length then
    local other = name .. ':' .. whole(length)
    local second = stored(other)
    if not second and w then
      second = fresh(other, length)
      local log = call('LRANGE', w.log, 0, -1)
      for i = 1, #log, 500 do
        call('RPUSH', second.log, spread(log, i, min(i + 499, #log)))
      end
      second.used, second.first, second.last, second.dirty = w.used, w.first, w.last, true
    end
    w = second or fresh(name, length)
  end
  w.limit = limit
  expire(w)
  return w
end

-- From `hold` on, for units that are handed out later. Never earlier than what is logged already: that keeps the log in order and
-- errs towards refusing. Beyond LOG_PAIRS pairs, charges of one cell share a pair of the later time, which errs the same way.
local function charge(w, cost, hold)
  local at = now + hold
  if w.used > 0 then
    at = max(at, w.last)
    local cell = w.length / LOG_PAIRS
    if at == w.last or (w.used >= LOG_PAIRS and floor(w.last / cell) == floor(at / cell) and call('LLEN', w.log) >= 2 * LOG_PAIRS) then
      local units = call('RPOP', w.log)
      call('RPOP', w.log)
      if w.first == w.last then w.first = at end
      call('RPUSH', w.log, at, units + cost)
    else
      call('RPUSH', w.log, at, cost)
    end
  else
    call('DEL', w.log)
    call('RPUSH', w.log, at, cost)
    w.first = at
  end
  w.used, w.last, w.dirty = w.used + cost, at, true
end

-- All of the log; what is used is counted again, so that a log that Redis evicted cannot hold the window for ever.
local function log_of(w)
  if not w.charged then
    w.charged, w.used = call('LRANGE', w.log, 0, -1), 0
    for i = 2, #w.charged, 2 do w.used = w.used + w.charged[i] end
  end
  return w.charged
end

local function bookings(w, from, to)
  local at, units = {}, {}
  if w.booked == 0 then return at, units end
  local found = call('ZRANGEBYSCORE', w.turns, from, to, 'WITHSCORES')
  for i = 1, #found, 2 do
    at[#at + 1] = tonumber(found[i + 1])
    units[#units + 1] = tonumber(string.match(found[i], '^%d+'))
  end
  return at, units
end

-- Is there room at every moment of [now, now + length), counting booked turns?
local function fits(w, cost)
  local room, occupied = w.limit - cost, w.used
  if occupied > room then return false end
  if occupied + w.booked <= room then return true end
  local at, units = bookings(w, '-inf', '(' .. whole(now + w.length))
  local log, i = log_of(w), 1
  occupied = w.used
  for b = 1, #at do
    while i < #log and log[i] + w.length <= at[b] do
      occupied, i = occupied - log[i + 1], i + 2
    end
    occupied = occupied + units[b]
    if occupied > room then return false end
  end
  return true
end

-- When no more than `room` units are left in the log.
local function room_at(w, room)
  local occupied, start = w.used, 0
  while occupied > room do
    local log = call('LRANGE', w.log, start, start + 127)
    for i = 1, #log, 2 do
      occupied = occupied - log[i + 1]
      if occupied <= room then return log[i] + w.length end
    end
    if #log == 0 then return now end
    start = start + 128
  end
  return now
end

local function bisect(list, value, right)
  local low, high = 1, #list + 1
  while low < high do
    local mid = floor((low + high) / 2)
    if list[mid] < value or (right and list[mid] == value) then low = mid + 1 else high = mid end
  end
  return low
end

-- Walk along what ends and begins after `at` until the occupation stays within `room` for a booking's whole span.
local function room_from(w, turn_at, turn_units, at, room)
  local span = w.length + w.grace
  local logged = w.used > 0 and w.last + w.length > at
  local log, i = logged and log_of(w) or {}, 1
  local occupied = logged and w.used or 0
  local function ending() return log[i] and log[i] + w.length or INF end
  while ending() <= at do
    occupied, i = occupied - log[i + 1], i + 2
  end
  local oldest, newest = bisect(turn_at, at - span - 1, false), bisect(turn_at, at, true)
  for b = oldest, newest - 1 do occupied = occupied + turn_units[b] end
  local since = occupied <= room and at or INF
  while true do
    local over = oldest < newest and turn_at[oldest] + span or INF
    local begins = turn_at[newest] or INF
    if since < INF and begins >= since + span then return since end
    local ends = ending()
    if ends <= begins and ends <= over then  -- at one moment what ends goes before what begins
      at, occupied, i = max(at, ends), occupied - log[i + 1], i + 2
    elseif over <= begins then
      at, occupied, oldest = max(at, over), occupied - turn_units[oldest], oldest + 1
    else
      at, occupied, newest = begins, occupied + turn_units[newest], newest + 1
    end
    since = occupied > room and INF or min(since, at)
  end
end

-- The earliest time from `after` on at which `cost` units have room for as long as a booking may occupy them.
local function turn(w, cost, after)
  local room = w.limit - cost
  local known = room <= w.hint_room and max(after, w.hint) or after
  if not w.turn_at or known < w.turn_known then
    w.turn_at, w.turn_units = bookings(w, whole(known - w.length - w.grace - 1), '+inf')
    w.turn_known = known
  end
  local spacing, at = min(SPACING, max(1, floor(w.length / w.limit / 2))), known
  while true do
    at = room_from(w, w.turn_at, w.turn_units, at, room)
    local next = bisect(w.turn_at, at - spacing / 2, false)
    if not w.turn_at[next] or w.turn_at[next] - at >= spacing / 2 then break end
    at = w.turn_at[next] + spacing
  end
  if after == now then w.hint, w.hint_room, w.dirty = at, room, true end
  return at
end

-- The earliest time at which all levels have room.
local function plan(windows, cost)
  local at, before, booked = now, -1, false
  for _, w in ipairs(windows) do booked = booked or w.booked > 0 end
  if not booked then  -- nothing begins later, so what has room once keeps it
    for _, w in ipairs(windows) do at = max(at, room_at(w, w.limit - cost)) end
    return at
  end
  while at > before do
    before = at
    for _, w in ipairs(windows) do at = turn(w, cost, at) end
  end
  return at
end

-- Units left in the tightest level, and when it frees its next.
local function tightest(windows)
  local least, frees = INF, now
  for _, w in ipairs(windows) do
    local left = max(0, w.limit - w.used - w.booked)
    if left < least then least, frees = left, w.used > 0 and w.first + w.length or now end
  end
  return least, frees
end

local function save_all(windows)
  for _, w in ipairs(windows) do
    if w.dirty then save(w) end
  end
end
