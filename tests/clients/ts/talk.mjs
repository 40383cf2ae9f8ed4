// One conversation of the official TypeScript SDK with the server under test.
// Takes one JSON argument {url | command+args, token, mode, calls: [{name, arguments}], cancelAfter}, prints one JSON object with
// what the SDK saw. Knows nothing of what is right: the Python test judges.
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio';

const plan = JSON.parse(process.argv[2]);
const seen = { tools: [], results: [] };

const transport = plan.url
  ? new StreamableHTTPClientTransport(new URL(plan.url), {
      requestInit: { headers: plan.token ? { Authorization: `Bearer ${plan.token}` } : {} },
    })
  : new StdioClientTransport({ command: plan.command, args: plan.args, env: plan.env });

const client = new Client({ name: 'e2e-ts', version: '1.0' }, { versionNegotiation: { mode: plan.mode ?? 'legacy' } });

function describe(problem) {
  return { error: String(problem?.message ?? problem), code: problem?.code ?? null, name: problem?.name ?? null };
}

try {
  await client.connect(transport);
  seen.protocolVersion = client.getNegotiatedProtocolVersion();
  seen.server = client.getServerVersion();
  seen.capabilities = client.getServerCapabilities();
  seen.instructions = client.getInstructions();
  seen.tools = (await client.listTools()).tools;
  for (const call of plan.calls ?? []) {
    try {
      const options = {};
      if (call.cancel) {
        // The file appears when the test has seen the statement run: then, and not before, the SDK cancels.
        const { watchUntil } = await import('./watch.mjs');
        const controller = new AbortController();
        options.signal = controller.signal;
        watchUntil(call.cancel, () => controller.abort('enough'));
      }
      seen.results.push(await client.callTool({ name: call.name, arguments: call.arguments }, options));
    } catch (problem) {
      seen.results.push(describe(problem));
    }
  }
} catch (problem) {
  seen.failed = describe(problem);
} finally {
  await client.close().catch(() => {});
}
console.log(JSON.stringify(seen));
