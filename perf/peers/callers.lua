-- Goes round the callers of a file (a host, a tab and a token per line) and prints the
-- counts in one line: answers, microseconds, broken connections, refused, p50, p99.
-- Arguments: the file, the path, "close" or "keep-alive".

local requests, count, at = {}, 0, 0

function init(args)
  for line in io.lines(args[1]) do
    local host, token = line:match("^(%S+)\t(%S+)$")
    local headers = { Host = host, Authorization = "Bearer " .. token }
    if args[3] == "close" then
      headers.Connection = "close"
    end
    count = count + 1
    requests[count] = wrk.format("GET", args[2], headers)
  end
end

function request()
  at = at % count + 1
  return requests[at]
end

function done(summary, latency)
  local e = summary.errors
  io.write(string.format("counts %d %d %d %d %d %d\n", summary.requests, summary.duration,
    e.connect + e.read + e.write + e.timeout, e.status,
    latency:percentile(50), latency:percentile(99)))
end
