-- id, epoch and session, definition, limit: 1 = go, 0 = wait, -1 = not the owner
local n = guard()
if n < 0 then return { n } end
local id, config = ARGV[4], ARGV[6]
local k, owner, kind = find(id)
if not k or owner ~= ARGV[5] then return { n, -1 } end
local gate = C('HGET', k, '_gate')
if gate == 'go ' .. config then return { n, 1 } end
if gate == 'wait ' .. config then return { n, 0 } end
local application = C('HGET', k, 'application')
leave_gate(id, k, kind, gate, application)
return { n, enter_gate(id, k, kind, config, application, tonumber(ARGV[7])) == 'go' and 1 or 0 }
