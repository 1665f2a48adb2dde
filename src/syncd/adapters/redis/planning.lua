-- What only a crowd needs: a second length under one key, bookings, and the planning of turns. Made where it is needed, once a call.

local function planning()
  local p = {}

  local function whole(number) return format('%.0f', number) end

  local function turns(w) return w.name .. ':turns' end

  local function grace(w) return min(GRACE, floor(w.length / 4)) end

  -- A second length under one key, at once or after a reload, is a window of its own that begins with what the first has seen: a
  -- changed setting must not open it.
  function p.other(w, name, length)
    local other = name .. ':' .. whole(length)
    local second = stored(other)
    if not second and w then
      second = fresh(other, length, w.used, 0, w.first, w.last, 0, -1, -1, 0, 0)
      local log = call('LRANGE', w.log, 0, -1)
      call('DEL', second.log)
      for i = 1, #log, 500 do
        call('RPUSH', second.log, spread(log, i, min(i + 499, #log)))
      end
      second.dirty = true
    end
    return second or fresh(name, length, 0, 0, 0, 0, 0, -1, -1, 0, 0)
  end

  -- Drop bookings that nobody came for.
  function p.lapse(w)
    local begun, begins = call('ZRANGEBYSCORE', turns(w), '-inf', whole(now), 'WITHSCORES'), nil
    for i = 1, #begun, 2 do
      local units, lapses = string.match(begun[i], '^(%d+) (%d+) ')
      if tonumber(lapses) < now then
        call('ZREM', turns(w), begun[i])
        w.booked, w.hint = w.booked - units, -1
      else
        begins = begins or tonumber(begun[i + 1])
      end
    end
    if not begins then
      local first = call('ZRANGE', turns(w), 0, 0, 'WITHSCORES')
      begins = tonumber(first[2] or 0)
      if not first[1] then w.booked = 0 end
    end
    w.begins, w.dirty = begins, true
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
    local found = call('ZRANGEBYSCORE', turns(w), from, to, 'WITHSCORES')
    for i = 1, #found, 2 do
      at[#at + 1] = tonumber(found[i + 1])
      units[#units + 1] = tonumber(string.match(found[i], '^%d+'))
    end
    return at, units
  end

  -- Is there room at every moment of [now, now + length), counting booked turns?
  function p.fits(w, cost)
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
    local span = w.length + grace(w)
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
      w.turn_at, w.turn_units = bookings(w, whole(known - w.length - grace(w) - 1), '+inf')
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
  function p.plan(windows, cost)
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

  -- Bookings: <tag>turn:<id> holds {at, lapses, cost, names of the windows}.

  function p.booking(held)
    local raw = held ~= '' and call('GET', tag .. 'turn:' .. held)
    if not raw then return nil end
    local b = { id = held, names = {} }
    local fields = { unpack(raw) }
    b.at, b.lapses, b.cost = fields[1], fields[2], fields[3]
    for i = 4, #fields do b.names[#b.names + 1] = fields[i] end
    b.member = whole(b.cost) .. ' ' .. whole(b.lapses) .. ' ' .. held
    return b
  end

  function p.unbook(w, b)
    if call('ZREM', turns(w), b.member) == 0 then return false end
    w.booked, w.dirty = w.booked - b.cost, true
    return true
  end

  function p.release(b)
    call('DEL', tag .. 'turn:' .. b.id)
    for _, name in ipairs(b.names) do
      local w = stored(name)
      if w and p.unbook(w, b) then
        w.hint = -1
        save(w)
      end
    end
  end

  function p.rebook(w, b)
    call('ZADD', turns(w), b.at, b.member)
    w.booked, w.lives = w.booked + b.cost, 0
  end

  function p.book(at, cost, windows)
    local lapses, fields = INF, {}
    for _, w in ipairs(windows) do lapses = min(lapses, at + grace(w)) end
    lapses = floor(lapses)
    local member = whole(cost) .. ' ' .. whole(lapses) .. ' ' .. id
    for i, w in ipairs(windows) do
      call('ZADD', turns(w), at, member)
      w.begins = w.booked > 0 and min(w.begins, at) or at
      w.booked, w.keep, fields[i] = w.booked + cost, max(w.keep, at + w.length + grace(w)), w.name
      w.dirty, w.lives = true, 0
    end
    call('SET', tag .. 'turn:' .. id, pack(at, lapses, cost, spread(fields)), 'PX', floor((lapses - now) / 1000) + 2000)
  end

  return p
end
