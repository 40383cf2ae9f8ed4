// The OAuth flow of the official TypeScript SDK, from 401 to a tool's answer.
// Takes one JSON argument {url, mode, call: {name, arguments}}, prints one JSON object with what the SDK saw. Plays the user's
// browser itself: follows the authorization URL and takes the code out of the redirect. Knows nothing of what is right.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from '@modelcontextprotocol/client';

const plan = JSON.parse(process.argv[2]);
const seen = { unauthorized: false };
const kept = {};
let returned;

const provider = {
  redirectUrl: 'http://127.0.0.1:1/callback',
  clientMetadata: {
    client_name: 'e2e-ts',
    redirect_uris: ['http://127.0.0.1:1/callback'],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'none',
  },
  clientInformation: () => kept.client,
  saveClientInformation: (client) => { kept.client = client; },
  tokens: () => kept.tokens,
  saveTokens: (tokens) => { kept.tokens = tokens; },
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => { kept.verifier = verifier; },
  redirectToAuthorization: async (url) => {
    const answer = await fetch(url, { redirect: 'manual' });
    returned = new URL(answer.headers.get('location')).searchParams;
  },
};

const connect = async () => {
  const transport = new StreamableHTTPClientTransport(new URL(plan.url), { authProvider: provider });
  const client = new Client({ name: 'e2e-ts', version: '1.0' }, { versionNegotiation: { mode: plan.mode } });
  try {
    await client.connect(transport);
    return client;
  } catch (problem) {
    if (!(problem instanceof UnauthorizedError) || seen.unauthorized) throw problem;
    seen.unauthorized = true;
    await transport.finishAuth(returned);
    return connect();
  }
};

const client = await connect();
seen.result = await client.callTool(plan.call);
seen.clientId = kept.client.client_id;
await client.close();
console.log(JSON.stringify(seen));
