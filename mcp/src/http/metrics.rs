//! `/metrics`: the statistics in the OpenMetrics format, where the setting is on.
//!
//! Whoever is on this machine may read them, as with any exporter on a local port; from elsewhere it takes a credential of this server's own. A JSON
//! Web Token is none: those are carried by end users, who have no business with the names of everybody's tools and roles.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use super::{Answer, Server, failure, refusal, refuse, text};
use crate::authorization;
use crate::caller::{Credential, Network};
use crate::config::Config;
use crate::logins::LoginError;
use crate::stats::CONTENT_TYPE as OPEN_METRICS;

impl Server {
    pub(super) async fn metrics(&self, request: Request<Incoming>, config: &Config) -> Answer {
        let answer = if request.method() != Method::GET && request.method() != Method::HEAD {
            failure(StatusCode::METHOD_NOT_ALLOWED, -32600, "the metrics are read by GET")
        } else if let Some(answer) = self.keep_out(request.headers(), config).await {
            answer
        } else {
            match self.gateway.open_metrics().await {
                Some(metrics) => {
                    let mut answer = text(StatusCode::OK, &metrics);
                    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(OPEN_METRICS));
                    answer
                }
                None => failure(StatusCode::INTERNAL_SERVER_ERROR, -32603, "the metrics could not be written"),
            }
        };
        refuse(request.into_body(), answer).await
    }

    /// The answer to somebody who may not read them.
    async fn keep_out(&self, headers: &HeaderMap, config: &Config) -> Option<Answer> {
        if self.connection.network != Network::Remote {
            return None;
        }
        let mut caller = self.connection.caller(config);
        match authorization::read(headers.get(AUTHORIZATION), config.jwt.is_on()) {
            Ok(Some(Credential::Jwt { .. })) => {
                let message = "the metrics are not for JSON Web Tokens: use a token of mcp.create_token";
                return Some(failure(StatusCode::FORBIDDEN, -32603, message));
            }
            Ok(Some(credential)) => caller.credential = credential,
            // Without one nobody is let in from another machine, not even where there is an anonymous role: `logins` sees to it.
            Ok(None) => {}
            Err(message) => return Some(self.unauthenticated(message, &caller)),
        }
        match self.gateway.admit_anew(&caller).await {
            Ok(()) => None,
            Err(LoginError::Unknown(message)) => Some(self.unauthenticated(&message, &caller)),
            Err(LoginError::Refused(error) | LoginError::Scope(error)) => Some(refusal(&error)),
        }
    }
}
