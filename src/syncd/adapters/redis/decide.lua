-- Decisions over several windows: all are charged or none. Runs behind window.lua, in one script.

-- Longest time for which a replica may hand out units that it has taken in one block, us: what Redis forgot counts for so much longer.
local LEASE = 1000000

-- Bookings: <tag>turn:<id> holds {at, lapses, cost, names of the windows}.

local function booking(id)
  local raw = id ~= '' and call('GET', tag .. 'turn:' .. id)
  if not raw then return nil end
  local b = { id = id, names = {} }
  local fields = { unpack(raw) }
  b.at, b.lapses, b.cost = fields[1], fields[2], fields[3]
  for i = 4, #fields do b.names[#b.names + 1] = fields[i] end
  b.member = whole(b.cost) .. ' ' .. whole(b.lapses) .. ' ' .. id
  return b
end

local function unbook(w, b)
  if call('ZREM', w.turns, b.member) == 0 then return false end
  w.booked, w.dirty = w.booked - b.cost, true
  return true
end

local function release(b)
  call('DEL', tag .. 'turn:' .. b.id)
  for _, name in ipairs(b.names) do
    local w = stored(name)
    if w and unbook(w, b) then
      w.hint = -1
      save(w)
    end
  end
end

local function book(id, at, cost, windows)
  local lapses, fields = INF, {}
  for _, w in ipairs(windows) do lapses = min(lapses, at + w.grace) end
  lapses = floor(lapses)
  local member = whole(cost) .. ' ' .. whole(lapses) .. ' ' .. id
  for i, w in ipairs(windows) do
    call('ZADD', w.turns, at, member)
    w.begins = w.booked > 0 and min(w.begins, at) or at
    w.booked, w.keep, w.dirty, fields[i] = w.booked + cost, max(w.keep, at + w.length + w.grace), true, w.name
  end
  call('SET', tag .. 'turn:' .. id, pack(at, lapses, cost, spread(fields)), 'PX', floor((lapses - now) / 1000) + 2000)
end

local function answer(status, remaining, wait, id, granted)
  return table.concat({ status, whole(max(0, remaining)), whole(max(0, wait)), whole(life.charges), whole(granted or 0), id or '' }, ' ')
end

-- take: ARGV[3..9] this call's id, cost, reserve, reservation, block, hold, most bookings of one window; then length and limit of
-- each level, whose names are KEYS[3..]. KEYS[2] is where the answer is kept, for ARGV[10] ms.
local function take(remembers)
  local id, cost, reserve, held = ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1', ARGV[6]
  local block, hold, most = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
  local sent = call('GET', KEYS[2])
  if sent then
    local remaining, at, granted, turn_id = unpack(sent)
    if remaining then return answer(1, remaining, at - now, '', granted) end
    if held == '' then held = turn_id end
  end
  local warm = 0
  for i = 11, #ARGV, 2 do warm = max(warm, life.since + ARGV[i] + LEASE - now) end
  if not remembers or warm > 0 then return answer(2, 0, warm, '') end

  local windows = {}
  for i = 3, #KEYS do
    windows[#windows + 1] = window(KEYS[i], tonumber(ARGV[2 * i + 5]), tonumber(ARGV[2 * i + 6]))
  end

  local function admitted(least, granted)
    for _, w in ipairs(windows) do charge(w, granted, hold) end
    save_all(windows)
    life.charges = life.charges + 1
    save_life()
    local _, frees = tightest(windows)
    local remaining = least - granted
    call('SET', KEYS[2], pack(remaining, frees, granted), 'PX', ARGV[10])
    return answer(1, remaining, frees - now, '', granted)
  end

  local function refused(left, at, turn_id)
    save_all(windows)
    if turn_id ~= '' then call('SET', KEYS[2], pack(false, 0, 0, turn_id), 'PX', ARGV[10]) end
    return answer(0, left, at - now, turn_id)
  end

  local b = booking(held)
  if b then
    local same = b.cost == cost and #b.names == #windows and b.lapses >= now
    for i, w in ipairs(windows) do same = same and b.names[i] == w.name end
    if same then
      for _, w in ipairs(windows) do unbook(w, b) end
      local may = now >= b.at
      if not may then
        may = true
        for _, w in ipairs(windows) do may = may and fits(w, cost) end
      end
      if may then
        call('DEL', tag .. 'turn:' .. b.id)
        return admitted((tightest(windows)), cost)
      end
      for _, w in ipairs(windows) do
        call('ZADD', w.turns, b.at, b.member)
        w.booked = w.booked + cost
      end
      return refused((tightest(windows)), b.at, b.id)
    end
    release(b)
  end

  local least, fit = INF, true
  for _, w in ipairs(windows) do
    local left = w.limit - w.used - w.booked
    if left < cost then
      fit = fits(w, cost)
      if not fit then break end
      left = cost
    end
    least = min(least, left)
  end
  if fit then return admitted(least, max(cost, min(block, least))) end
  local at, left, books = plan(windows, cost), (tightest(windows)), reserve
  for _, w in ipairs(windows) do books = books and w.booked < most end
  if books then book(id, at, cost, windows) end
  return refused(left, at, books and id or '')
end

-- charge: ARGV[3] this call's id, ARGV[4] units; then as for take.
local function add()
  if call('EXISTS', KEYS[2]) == 1 then return answer(1, 0, 0, '') end
  for i = 3, #KEYS do
    local w = window(KEYS[i], tonumber(ARGV[2 * i + 5]), tonumber(ARGV[2 * i + 6]))
    charge(w, tonumber(ARGV[4]), 0)
    save(w)
  end
  life.charges = life.charges + 1
  save_life()
  call('SET', KEYS[2], pack(0, now, 0), 'PX', ARGV[10])
  return answer(1, 0, 0, '')
end

-- beat: ARGV[4] the server's run id, '' where it is not told, and [5] for how long it runs, us; [6] the life that the caller knew and [7]
-- the most charges in it; [8] '1' where the caller doubts Redis's clock. Whatever may be forgotten is waited out.
local function beat()
  local boot, change = now - tonumber(ARGV[5]), ''
  if ARGV[4] ~= '' and life.run ~= ARGV[4] then
    if life.run ~= '' then change = boot > life.since and 'restarted' or 'failed_over' end
    if life.run ~= '' then life.since = max(life.since, boot) end
    life.run = ARGV[4]
  end
  if ARGV[6] ~= '' and ARGV[6] ~= life.id then
    change = 'forgot'  -- and the new life is waited out from its beginning, which was after the loss
  elseif tonumber(ARGV[7]) > life.charges or ARGV[8] == '1' then
    life.since, life.charges, change = now, max(life.charges, tonumber(ARGV[7])), 'forgot'
  end
  save_life()
  return table.concat({ life.id, whole(now), whole(now - life.since), whole(life.charges), change }, ' ')
end

-- prepare: a person says that a Redis without a life is new, so that nobody need wait for what it may have forgotten.
local function prepare(remembers)
  if remembers then return '0' end
  life.since = 0
  save_life()
  return '1'
end

local operation, remembers = ARGV[1], read_life(ARGV[3])
if operation == 'take' then return take(remembers) end
if operation == 'charge' then return add() end
if operation == 'beat' then return beat() end
if operation == 'prepare' then return prepare(remembers) end
local b = booking(ARGV[3])  -- release
if b then release(b) end
return ''
