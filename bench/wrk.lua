-- Sends requests from a file, each written before the run: "<length>\n<request>" again and again.
-- Arguments: the file; where in it to start, and how many to take, from the front again at its end; what stands
-- in place of the sender's token, and the token. Prints one line of JSON at the end.
local requests, at = {}, 0

local function next_request(file)
  local length = file:read("*l")
  if not length then
    file:seek("set", 0)
    length = assert(file:read("*l"), "an empty file")
  end
  return tonumber(length)
end

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  local first, count, hole, token = tonumber(arguments[2]), tonumber(arguments[3]), arguments[4], arguments[5]
  for _ = 1, first do
    file:seek("cur", next_request(file))
  end
  for number = 1, count do
    local request = file:read(next_request(file))
    local from, to = request:find(hole, 1, true)
    requests[number] = request:sub(1, from - 1) .. token .. request:sub(to + 1)
  end
  file:close()
end

function request()
  at = at % #requests + 1
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"microseconds":%d,"bad":%d,"failed":%d,"p50":%.1f,"p99":%.1f,"p999":%.1f}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
