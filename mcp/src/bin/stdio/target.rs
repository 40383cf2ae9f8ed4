//! Where the bridge connects to, from its argument and its environment, and how it introduces itself there.
//!
//! Pure: text in, text out. Must not let a token or a name add anything to the request but itself.

const DEFAULT_SOCKET: &str = "/var/run/postgresql/.s.MCP.5627";
const DEFAULT_PORT: u16 = 5627;

#[derive(Debug, PartialEq)]
pub enum Address {
    Unix(String),
    Tcp { host: String, port: u16 },
}

/// Where to connect, and how to introduce ourselves there.
#[derive(Debug, PartialEq)]
pub struct Target {
    pub address: Address,
    pub database: Option<String>,
    pub token: Option<String>,
}

impl Target {
    pub fn parse(argument: Option<&str>, token: Option<String>, database: Option<String>) -> Result<Self, String> {
        let (address, named) = match argument {
            None | Some("") => (Address::Unix(DEFAULT_SOCKET.into()), None),
            Some(url) if url.starts_with("https://") => {
                return Err("https:// is not supported: supabase-mcp-stdio has no TLS. Use the Unix socket, http:// on the loopback \
                            interface, or an SSH tunnel to either"
                    .into());
            }
            Some(url) if url.starts_with("http://") => parse_url(url)?,
            Some(path) => {
                let path = path.strip_prefix("unix://").or_else(|| path.strip_prefix("unix:")).unwrap_or(path);
                if !path.starts_with('/') {
                    return Err(format!("\"{path}\" is neither an absolute socket path nor an http:// URL"));
                }
                (Address::Unix(path.into()), None)
            }
        };
        let token = token.filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
            return Err("SUPABASE_MCP_TOKEN holds characters that no token has".into());
        }
        Ok(Self { address, database: named.or(database).filter(|name| !name.is_empty()), token })
    }

    /// The request that turns an HTTP connection into newline-delimited JSON-RPC; none where the socket can be used as it is.
    pub fn upgrade(&self) -> Option<String> {
        let host = match &self.address {
            Address::Unix(_) if self.token.is_none() && self.database.is_none() => return None,
            Address::Unix(_) => "localhost".to_owned(),
            Address::Tcp { host, port } => format!("{host}:{port}"),
        };
        let path = self.database.as_deref().map(|name| format!("/{}", percent_encode(name))).unwrap_or_default();
        let authorization = self.token.as_deref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        Some(format!("GET /mcp{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: mcp\r\nConnection: upgrade\r\n{authorization}\r\n"))
    }
}

fn parse_url(url: &str) -> Result<(Address, Option<String>), String> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = rest.split_once('/').unwrap_or((rest, "mcp"));
    if authority.contains('@') {
        return Err("a URL with a user or password in it is refused: put the token into SUPABASE_MCP_TOKEN".into());
    }
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            (host, port.parse().map_err(|_| format!("\"{port}\" in \"{url}\" is not a port number"))?)
        }
        _ => (authority, DEFAULT_PORT),
    };
    if host.is_empty() || host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(format!("\"{url}\" names no host"));
    }
    let database = match path.trim_end_matches('/') {
        "" | "mcp" => None,
        path => match path.strip_prefix("mcp/") {
            Some(name) if !name.contains(['/', '?', '#']) => Some(percent_decode(name)?),
            _ => return Err(format!("the path of \"{url}\" must be /mcp or /mcp/database")),
        },
    };
    Ok((Address::Tcp { host: host.into(), port }, database))
}

fn percent_encode(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn percent_decode(name: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [bytes.next().unwrap_or(b'?'), bytes.next().unwrap_or(b'?')];
        let value = std::str::from_utf8(&digits).ok().and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(value.ok_or_else(|| format!("\"{name}\" has a % that is not followed by two hexadecimal digits"))?);
    }
    String::from_utf8(out).map_err(|_| format!("\"{name}\" is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(argument: &str) -> Result<Target, String> {
        Target::parse(Some(argument), None, None)
    }

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn nothing_means_the_stock_socket_without_an_introduction() {
        let target = Target::parse(None, None, None).unwrap();
        assert_eq!(target.address, Address::Unix(DEFAULT_SOCKET.into()));
        assert_eq!(target.upgrade(), None);
    }

    #[test]
    fn a_socket_may_be_written_in_three_ways() {
        for text in ["/run/x/.s.MCP.1", "unix:/run/x/.s.MCP.1", "unix:///run/x/.s.MCP.1"] {
            assert_eq!(parse(text).unwrap().address, Address::Unix("/run/x/.s.MCP.1".into()), "{text}");
        }
    }

    #[test]
    fn urls_name_host_port_and_database() {
        assert_eq!(parse("http://127.0.0.1:5627/mcp").unwrap().address, tcp("127.0.0.1", 5627));
        assert_eq!(parse("http://localhost").unwrap().address, tcp("localhost", DEFAULT_PORT));
        assert_eq!(parse("http://[::1]:99/mcp").unwrap().address, tcp("[::1]", 99));
        assert_eq!(parse("http://[::1]/mcp").unwrap().address, tcp("[::1]", DEFAULT_PORT));
        assert_eq!(parse("http://h:1/mcp/my%20shop").unwrap().database.as_deref(), Some("my shop"));
        assert_eq!(parse("http://h:1/mcp/").unwrap().database, None);
    }

    #[test]
    fn what_cannot_work_is_refused_with_a_reason() {
        for (text, part) in [
            ("https://h/mcp", "no TLS"),
            ("relative/path", "absolute socket path"),
            ("http://h:port/mcp", "port number"),
            ("http:///mcp", "no host"),
            ("http://h/other", "/mcp or /mcp/database"),
            ("http://h/mcp/a/b", "/mcp or /mcp/database"),
            ("http://u:p@h/mcp", "SUPABASE_MCP_TOKEN"),
            ("http://h/mcp/%zz", "hexadecimal"),
        ] {
            assert!(parse(text).unwrap_err().contains(part), "{text}");
        }
        let smuggled = Target::parse(None, Some("x\r\nHost: y".into()), None);
        assert!(smuggled.unwrap_err().contains("SUPABASE_MCP_TOKEN"));
    }

    #[test]
    fn a_token_or_a_database_needs_the_introduction() {
        let target = Target::parse(None, Some("mcp_t".into()), Some("sho p".into())).unwrap();
        let request = target.upgrade().unwrap();
        assert!(request.starts_with("GET /mcp/sho%20p HTTP/1.1\r\nHost: localhost\r\nUpgrade: mcp\r\n"), "{request}");
        assert!(request.ends_with("Authorization: Bearer mcp_t\r\n\r\n"), "{request}");
    }

    #[test]
    fn the_database_of_the_url_wins_over_the_environment() {
        let target = Target::parse(Some("http://h:1/mcp/a"), None, Some("b".into())).unwrap();
        assert_eq!(target.database.as_deref(), Some("a"));
    }
}
