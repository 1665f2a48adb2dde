-- The distributed limiter: each decision is one call of this script, so nothing happens between looking and charging.
--
-- The rule is that of domain/slidingwindow.py and domain/ratelimit.py, over what Redis keeps; there are the drawings. All times are
-- whole microseconds of Redis's clock, made monotonic by the life (below). All keys begin with one hash tag: they live in one slot.
--
--   <tag>life            this memory of Redis: since when, the newest time, how many charges. Gone = Redis lost its memory
--   <tag>w:<key>         state of a window; ...:log its charges (time, units, time, units ...); ...:turns its bookings by time
--   <tag>w:<key>:<us>    the same for a second length under one key
--   <tag>turn:<id>       a booking            <tag>call:<id>, <tag>token:<token>    what a call was answered, in case it is sent again
--
-- ARGV[1] operation, ARGV[2] the time where a test owns it, else ''; ARGV[3] an id of this call alone.
--
-- The ordinary decision runs through this file and the end of decide.lua. What only a crowd needs is in planning.lua, inside one
-- function, because Redis makes every function anew with each call.
local call, floor, max, min, spread = redis.call, math.floor, math.max, math.min, unpack
local pack, unpack, format = cmsgpack.pack, cmsgpack.unpack, string.format
local LOG_PAIRS, GRACE, SPACING, INF = 1024, 5000000, 1000, math.huge
-- Longest time for which a replica may hand out units that it took in one block: what Redis forgot counts for so much longer.
local LEASE = 1000000
local tag = string.sub(KEYS[1], 1, -5)
local operation, id = ARGV[1], ARGV[3]
local opened = {}  -- windows of this call by name

-- The life. `skew` is added to Redis's clock, so that setting that clock back opens no window and stops none. `remembers`: whether
-- there was one.

local now = tonumber(ARGV[2])
if not now then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local life, since, newest, skew, charges, run = id, now, now, 0, 0, ''
local remembers, set_back = call('GET', KEYS[1]), false
if remembers then
  life, since, newest, skew, charges, run = unpack(remembers)
  now = now + skew
  if now < newest then
    set_back = operation ~= 'beat'  -- that only looks: it may carry a test's time of a while ago
    if set_back then skew = skew + newest - now end
    now = newest
  end
end

local function save_life()
  call('SET', KEYS[1], pack(life, since, now, skew, charges, run))
end

if not remembers or set_back then save_life() end

-- Windows.

local function fresh(name, length, used, booked, first, last, begins, hint, hint_room, keep, lives)
  local w = { name = name, log = name .. ':log', length = length, used = used, booked = booked, first = first, last = last,
    begins = begins, hint = hint, hint_room = hint_room, keep = keep, lives = lives, dirty = false, limit = 0 }
  opened[name] = w
  return w
end

local function stored(name)
  local w = opened[name]
  if w then return w end
  local raw = call('GET', name)
  if raw then return fresh(name, unpack(raw)) end
end

local function save(w)
  local ends = max(w.keep, w.last + w.length, now)
  local state, kept = w.name, true
  if ends + 1000000 > w.lives then
    -- Half as long again, so that the keys need not be told with every charge how long they live. `lives` may be later than they do
    -- by the clock of Redis where that was set: no decision depends on it.
    w.lives, kept = ends + max(2000000, floor((ends - now) / 2)), false
  end
  local packed = pack(w.length, w.used, w.booked, w.first, w.last, w.begins, w.hint, w.hint_room, w.keep, w.lives)
  if kept then
    call('SET', state, packed, 'KEEPTTL')
  else
    local left = format('%.0f', (w.lives - now) / 1000)
    call('SET', state, packed, 'PX', left)
    call('PEXPIRE', w.log, left)
    if w.booked > 0 then call('PEXPIRE', state .. ':turns', left) end
  end
end

-- Drop what has left the window.
local function expire(w)
  local upto = 7  -- mostly one or two pairs are over
  while w.used > 0 and w.first + w.length <= now do
    local head, gone = call('LRANGE', w.log, 0, upto), 0
    upto = 127
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
end

-- From `hold` on, for units that are handed out later. Never earlier than what is logged already: that keeps the log in order and
-- errs towards refusing. Beyond LOG_PAIRS pairs, charges of one cell share a pair of the later time, which errs the same way.
local function charge(w, cost, hold)
  local at = now + hold
  if w.used > 0 then
    if at < w.last then at = w.last end
    local full = w.used >= LOG_PAIRS and floor(w.last / w.length * LOG_PAIRS) == floor(at / w.length * LOG_PAIRS)
    if at == w.last or (full and call('LLEN', w.log) >= 2 * LOG_PAIRS) then
      local units = call('RPOP', w.log)
      call('RPOP', w.log)
      if w.first == w.last then w.first, w.lives = at, 0 end  -- it was the only pair, and the list is a new one
      call('RPUSH', w.log, at, units + cost)
    else
      call('RPUSH', w.log, at, cost)
    end
  else
    call('DEL', w.log)
    call('RPUSH', w.log, at, cost)
    w.first, w.lives = at, 0
  end
  w.used, w.last, w.dirty = w.used + cost, at, true
end
