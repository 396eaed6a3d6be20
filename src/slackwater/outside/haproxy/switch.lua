-- slackwater: the dead-man's switch of holds. Owned by slackwater; edits are overwritten.
--
-- A hold is an entry `<backend> <id>/<ttl in ms>/<back>[/<by>]` in the map below. This task notes, by
-- HAProxy's own monotonic clock, when it first saw an id, and ttl later ends that hold: server
-- <back> is set ready, server `hold` goes to maintenance. So nobody's wall clock matters, neither
-- its skew nor its jumps. A new id starts anew (a refreshed hold); the same id with another <back>
-- keeps its deadline (slackwater aims elsewhere). Each HAProxy thread keeps its own copy of that
-- clock, so a deadline is good to some milliseconds and one tick.
--
-- `by` is a time of this machine's own wall clock (os.time(), as `show slackwater` told it): an id
-- first seen later is a line that slackwater has long given up, which a hung HAProxy found when it
-- woke up. It is ended at once. HAProxy's own clock would not do: it leaves out the time it hung.
--
-- It fails towards serving: a value that it cannot read, a <back> that is no server, and a `hold`
-- server that has weight while the map has no entry all end in a release, to the server whose
-- address `hold` is another name of.
local MAP = "@MAP@"
local TICK_MS, UNREADABLE_MS, LONGEST_MS, ORPHAN_S = 20, 500, 60000, 0.05

-- Several files of this kind (one a map) share one task; the same one twice is one.
slackwater = slackwater or { maps = {} }
local first = next(slackwater.maps) == nil
if slackwater.maps[MAP] then return end
slackwater.maps[MAP] = Map.new(MAP, Map._str)
if not first then return end

local seen, expired, orphans = {}, {}, {}
local ran_at, errors, last_error = 0, 0, nil

local function now()
  local t = core.now()
  return t.sec + t.usec / 1e6
end

local function lookup(backend)
  for file, map in pairs(slackwater.maps) do
    local value = map:lookup(backend)
    if value ~= nil and value ~= "" then return value, file end
  end
end

-- The server that `hold` is another name of: the active one before the hold.
local function owner(servers)
  local address = servers["hold"]:get_addr()
  for name, server in pairs(servers) do
    if name ~= "hold" and server:get_addr() == address then return server end
  end
end

local function release(backend, servers, id, back, file, why)
  local server = back ~= "hold" and servers[back or ""] or owner(servers)
  if server == nil then error("no server to return to in " .. backend) end
  server:set_ready() -- first, so that at no moment nobody serves
  servers["hold"]:set_maint()
  servers["hold"]:set_weight("0")
  if file then core.del_map(file, backend) end
  seen[backend], orphans[backend] = nil, nil
  expired[backend] = { id = id, why = why }
  core.Warning("slackwater: hold " .. id .. " of " .. backend .. " ended by itself: " .. why)
end

-- The map has no entry. Two looks apart, because slackwater replaces an entry by del and add.
local function without_entry(backend, servers)
  seen[backend] = nil
  local hold = servers["hold"]
  if tostring(hold:get_weight()) == "0" or hold:get_stats().status == "MAINT" then
    orphans[backend] = nil
  elseif orphans[backend] == nil then
    orphans[backend] = now()
  elseif now() - orphans[backend] >= ORPHAN_S then
    release(backend, servers, "-", nil, nil, "it has no deadline")
  end
end

local function tick(backend, servers)
  local value, file = lookup(backend)
  if value == nil then return without_entry(backend, servers) end
  orphans[backend] = nil
  local id, ttl, back, by = string.match(value, "^([^/%s]+)/(%d+)/([^/%s]+)/?(%d*)$")
  local why = "its deadline has passed"
  if id == nil then
    id, ttl, back, why = "?", UNREADABLE_MS, nil, "its entry is not readable"
  end
  local gone = expired[backend]
  if gone and gone.id == id and id ~= "?" then return end -- ended, but its entry stayed
  local held = seen[backend]
  if held == nil or held.id ~= id then
    if by ~= nil and by ~= "" and os.time() > tonumber(by) then
      return release(backend, servers, id, nil, file, "it came too late")
    end
    held = { id = id, since = now() }
    seen[backend] = held
  end
  held.back, held.ttl = back, math.min(tonumber(ttl), LONGEST_MS) / 1000
  if now() - held.since >= held.ttl then release(backend, servers, id, back, file, why) end
end

local function tick_all(backends)
  for backend, servers in pairs(backends) do
    local ok, message = pcall(tick, backend, servers)
    if not ok then
      errors, last_error = errors + 1, tostring(message)
    end
  end
end

local function with_hold()
  local found = {}
  for name, proxy in pairs(core.backends) do
    if proxy.servers["hold"] then found[name] = proxy.servers end
  end
  return found
end

core.register_task(function()
  local backends = with_hold()
  while true do
    core.msleep(TICK_MS)
    ran_at = now()
    tick_all(backends)
  end
end)

core.register_cli({ "show", "slackwater" }, "show slackwater : holds and their deadlines",
  function(applet)
    -- Not the task's own mark: a task that stopped must show.
    -- This thread's clock may be some ms behind that of the task's: not below 0.
    local age_ms = ran_at == 0 and 1e9 or math.max(0, (now() - ran_at) * 1000)
    tick_all(with_hold()) -- so that a hold put in this very line is seen
    local out = { string.format("slackwater-switch 1 age_ms=%.0f errors=%d clock=%d", age_ms,
      errors, os.time()) }
    for backend, held in pairs(seen) do
      local left_ms = (held.since + held.ttl - now()) * 1000
      out[#out + 1] = string.format("hold %s id=%s left_ms=%.0f back=%s", backend, held.id,
        left_ms, held.back or "")
    end
    for backend, gone in pairs(expired) do
      out[#out + 1] = string.format("expired %s id=%s why=%s", backend, gone.id, gone.why)
    end
    if last_error then
      out[#out + 1] = "last_error " .. string.gsub(last_error, "%s+", " ")
    end
    applet:send(table.concat(out, "\n") .. "\n")
  end)
