//! Requests to one of several servers, with secrets and certificates as they are now.

use super::config::{Compression, HttpSettings, parse};
use super::fault;
use super::outcome::Failure;
use super::reply::{MAX_BYTES, Reply};
use super::resolver::Resolver;
use super::servers::{Server, Servers, authority, host};
use crate::net::backoff::parse_retry_after;
use crate::net::failure::NetFailure;
use crate::net::secret::{SecretReader, SecretSource};
use crate::net::tls::Tls;
use flate2::write::GzEncoder;
use reqwest::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, Url};
use std::borrow::Cow;
use std::io::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use zeroize::Zeroizing;

/// A connection without a request is closed after this.
const IDLE: Duration = Duration::from_secs(30);
const SNI_BEHIND_PROXY: &str = "server_name is set, and the environment names a proxy, which would be asked for that \
     name; set proxy = \"\", or use a URL with a name from the server's certificate";
const USER_AGENT: &str = concat!("hostward/", env!("CARGO_PKG_VERSION"));

/// How a sink shows who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// `Authorization: Basic`.
    Basic {
        /// The user.
        username: String,
        /// Its password.
        password: SecretSource,
    },
    /// `Authorization: SCHEME SECRET`.
    Token {
        /// `Bearer`, `ApiKey`, `Splunk`.
        scheme: &'static str,
        /// The token.
        token: SecretSource,
    },
}

/// What is sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method.
    pub method: Method,
    /// Path behind that of the URL, with a query if need be; empty: the URL itself.
    pub path: Cow<'static, str>,
    /// Headers beside those that all requests have.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body, not compressed.
    pub body: Vec<u8>,
}

impl Request {
    /// A POST of this media type.
    pub fn post(path: impl Into<Cow<'static, str>>, content_type: &'static str, body: Vec<u8>) -> Self {
        let headers = vec![(reqwest::header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        Self { method: Method::POST, path: path.into(), headers, body }
    }

    /// A GET.
    pub fn get(path: impl Into<Cow<'static, str>>) -> Self {
        Self { method: Method::GET, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// With a header more.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

/// Keeps what requests need current: [`Opener::client`] is asked before each batch.
#[derive(Debug)]
pub struct Opener {
    settings: HttpSettings,
    tls: Tls,
    login: Option<(Login, SecretReader)>,
    servers: Arc<Mutex<Servers>>,
    last: Option<(u64, Client)>,
}

/// Sends requests. A copy shares connections with its original.
#[derive(Clone, Debug)]
pub struct Client {
    /// One per server.
    http: Arc<[reqwest::Client]>,
    /// What `server_name` says, when TLS can ask a server for it.
    sni: Option<Arc<str>>,
    settings: Arc<HttpSettings>,
    authorization: Option<HeaderValue>,
    servers: Arc<Mutex<Servers>>,
}

impl Opener {
    /// Nothing is read or connected yet. URLs that are none are left out: the configuration's
    /// validation told them.
    pub fn new(settings: HttpSettings, login: Option<Login>) -> Self {
        let list = settings.urls.iter().filter_map(|url| parse(url).ok()).map(Server::new).collect();
        let reader = |login: Login| {
            let (Login::Basic { password: source, .. } | Login::Token { token: source, .. }) = &login;
            let reader = SecretReader::new(source.clone());
            (login, reader)
        };
        Self {
            tls: Tls::new(settings.tls.clone()),
            settings,
            login: login.map(reader),
            servers: Arc::new(Mutex::new(Servers::new(list))),
            last: None,
        }
    }

    /// The same servers, with files and connections of its own.
    pub(crate) fn twin(&self) -> Self {
        let login = self.login.as_ref().map(|(login, _)| login.clone());
        let twin = Self::new(self.settings.clone(), login);
        Self { servers: Arc::clone(&self.servers), ..twin }
    }

    /// The client as files are now.
    ///
    /// # Errors
    /// When a secret or the files of TLS cannot be read.
    pub fn client(&mut self) -> Result<Client, NetFailure> {
        let authorization = self.authorization()?;
        let tls = self.tls.client()?;
        self.tls.tell_insecure(&self.settings.name);
        let generation = self.tls.generation();
        if let Some((_, client)) = self.last.as_mut().filter(|(of, _)| *of == generation) {
            client.authorization = authorization;
            return Ok(client.clone());
        }
        let sni = self.settings.sni();
        if sni.is_some() && self.uses_proxy() {
            return Err(unusable(&SNI_BEHIND_PROXY));
        }
        let hosts: Vec<String> = {
            let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
            servers.list.iter().map(|server| host(&server.url).to_owned()).collect()
        };
        // Servers differ only in which host the name of `server_name` stands for.
        let http = match &sni {
            None => vec![self.build(&tls, Resolver::default())?; hosts.len()],
            Some(name) => {
                let client = |host: String| self.build(&tls, Resolver::standing_for(name, host));
                hosts.into_iter().map(client).collect::<Result<_, _>>()?
            }
        };
        let client = Client {
            http: http.into(),
            sni: sni.map(Into::into),
            settings: Arc::new(self.settings.clone()),
            authorization,
            servers: Arc::clone(&self.servers),
        };
        self.last = Some((generation, client.clone()));
        Ok(client)
    }

    fn build(&self, tls: &rustls::ClientConfig, resolver: Resolver) -> Result<reqwest::Client, NetFailure> {
        let mut builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(resolver)
            .connect_timeout(self.settings.connect_timeout)
            .timeout(self.settings.request_timeout)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(self.settings.concurrency)
            // Shorter than what servers and balancers do, so that a connection seldom ends under a request.
            .pool_idle_timeout(IDLE)
            // Twice is possible by our own retries only, which know what a lost reply means.
            .retry(reqwest::retry::never())
            .tls_backend_preconfigured(tls.clone());
        builder = match self.settings.proxy.as_deref() {
            None => builder,
            Some("") => builder.no_proxy(),
            Some(proxy) => match reqwest::Proxy::all(proxy) {
                Ok(proxy) => builder.no_proxy().proxy(proxy),
                Err(error) => return Err(unusable(&error)),
            },
        };
        builder.build().map_err(|error| unusable(&error))
    }

    /// True when the sink or the environment names a proxy.
    pub(crate) fn uses_proxy(&self) -> bool {
        match self.settings.proxy.as_deref() {
            Some(proxy) => !proxy.is_empty(),
            None => ["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"]
                .iter()
                .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty())),
        }
    }

    /// The next client reads secrets again, whatever their files look like.
    pub fn forget_secrets(&mut self) {
        if let Some((_, reader)) = &mut self.login {
            reader.forget();
        }
    }

    fn authorization(&mut self) -> Result<Option<HeaderValue>, NetFailure> {
        use base64::Engine as _;
        let Some((login, reader)) = &mut self.login else { return Ok(None) };
        let secret = reader.current()?;
        let mut line = Zeroizing::new(Vec::with_capacity(1_024));
        match login {
            Login::Basic { username, .. } => {
                let pair = Zeroizing::new([username.as_bytes(), b":", secret.expose()].concat());
                let coded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(&*pair));
                line.extend_from_slice(b"Basic ");
                line.extend_from_slice(coded.as_bytes());
            }
            Login::Token { scheme, .. } => {
                line.extend_from_slice(scheme.as_bytes());
                line.push(b' ');
                line.extend_from_slice(secret.expose());
            }
        }
        // A token with a line end in it would be another header.
        let mut value = HeaderValue::from_bytes(&line)
            .map_err(|_| unusable(&"the secret holds bytes that no header may have"))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }
}

fn unusable(why: &dyn std::fmt::Display) -> NetFailure {
    NetFailure::Refused { peer: "HTTP client".to_owned(), reply: why.to_string() }
}

impl Client {
    fn servers(&self) -> MutexGuard<'_, Servers> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many servers are configured.
    pub fn server_count(&self) -> usize {
        self.servers().list.len()
    }

    /// Sends to the next server in turn; one that cannot be reached, or whose gateway says that nobody
    /// is behind it, rests, and the next is asked.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn send(&self, request: &Request) -> Result<Reply, Failure> {
        let turn = self.servers().turn(Instant::now());
        let body = self.body(request);
        let mut failure: Option<Failure> = None;
        for (nth, server) in turn.iter().enumerate() {
            let is_last = nth + 1 == turn.len();
            let next = match self.exchange(*server, request, body.clone()).await {
                Ok(reply) if !is_last && matches!(reply.status, 502..=504) => {
                    Failure::passing(format!("{}: answers {}", reply.peer, reply.excerpt()))
                }
                Ok(reply) => {
                    if matches!(reply.status, 502..=504) {
                        self.rest(*server);
                    } else {
                        self.wake(*server);
                    }
                    return Ok(reply);
                }
                Err(failure) => Failure::from(failure),
            };
            self.rest(*server);
            failure = Some(match failure {
                Some(before) => before.worse(next),
                None => next,
            });
        }
        Err(failure.unwrap_or_else(|| Failure::needs_help("no server is configured; set the URL".to_owned())))
    }

    /// Sends to this server and no other.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn send_to(&self, server: usize, request: &Request) -> Result<Reply, NetFailure> {
        self.exchange(server, request, self.body(request)).await
    }

    fn rest(&self, server: usize) {
        if let Some(server) = self.servers().list.get_mut(server) {
            server.rest();
        }
    }

    fn wake(&self, server: usize) {
        if let Some(server) = self.servers().list.get_mut(server) {
            server.wake();
        }
    }

    /// The body as it goes out, and whether it is compressed.
    fn body(&self, request: &Request) -> (bytes::Bytes, bool) {
        if self.settings.compression == Compression::None || request.body.is_empty() {
            return (request.body.clone().into(), false);
        }
        let room = Vec::with_capacity(request.body.len() / 4);
        let mut gzip = GzEncoder::new(room, flate2::Compression::fast());
        // Writing to a Vec cannot fail; if it did, the plain body says the same.
        match gzip.write_all(&request.body).and_then(|()| gzip.finish()) {
            Ok(coded) => (coded.into(), true),
            Err(_) => (request.body.clone().into(), false),
        }
    }

    async fn exchange(
        &self,
        server: usize,
        request: &Request,
        (body, is_coded): (bytes::Bytes, bool),
    ) -> Result<Reply, NetFailure> {
        let (mut url, peer) = match self.servers().list.get(server) {
            Some(server) => (join(&server.url, &request.path), server.peer.clone()),
            None => return Err(unusable(&"no such server")),
        };
        let Some(http) = self.http.get(server) else { return Err(unusable(&"no such server")) };
        let limit = self.settings.request_timeout;
        let mut headers = HeaderMap::new();
        if let Some(name) = &self.sni {
            // TLS asks for the name in the URL; the server goes on to hear the host that was configured.
            if let Ok(authority) = HeaderValue::from_str(&authority(&url)) {
                headers.insert(HOST, authority);
            }
            if url.set_host(Some(name)).is_err() {
                return Err(unusable(&"server_name is no host"));
            }
        }
        headers.extend(request.headers.iter().cloned());
        // hyper leaves the length of no body out, and some servers answer that with 411.
        if body.is_empty() && matches!(request.method, Method::POST | Method::PUT) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if is_coded {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(reqwest::header::AUTHORIZATION, authorization.clone());
        }
        let sent = http.request(request.method.clone(), url).headers(headers).body(body).send();
        let mut response = sent.await.map_err(|error| fault::failure(&peer, &error, limit))?;
        let text = |name: &HeaderName| {
            response
                .headers()
                .get(name)
                .map_or_else(String::new, |value| super::reply::shown(value.as_bytes()))
        };
        let retry_after = parse_retry_after(&text(&RETRY_AFTER), SystemTime::now());
        let mut reply = Reply {
            server,
            status: response.status().as_u16(),
            retry_after,
            location: text(&LOCATION),
            product: text(&HeaderName::from_static("x-elastic-product")),
            body: Vec::new(),
            is_cut: false,
            peer,
        };
        while let Some(chunk) =
            response.chunk().await.map_err(|error| fault::failure(&reply.peer, &error, limit))?
        {
            let left = MAX_BYTES - reply.body.len();
            reply.body.extend_from_slice(chunk.get(..left).unwrap_or(&chunk));
            if chunk.len() > left {
                reply.is_cut = true;
                break;
            }
        }
        Ok(reply)
    }

    /// Host and port of a server, for messages.
    pub(crate) fn peer(&self, server: usize) -> String {
        self.servers().list.get(server).map(|server| server.peer.clone()).unwrap_or_default()
    }

    /// Host, without brackets, and port of a server.
    pub(crate) fn address(&self, server: usize) -> (String, u16) {
        let servers = self.servers();
        let Some(url) = servers.list.get(server).map(|server| &server.url) else { return Default::default() };
        (host(url).to_owned(), url.port_or_known_default().unwrap_or_default())
    }

    /// True when a server is asked by TLS.
    pub(crate) fn is_secure(&self, server: usize) -> bool {
        self.servers().list.get(server).is_some_and(|server| server.url.scheme() == "https")
    }
}

/// The path behind that of the URL; a query stands in the path.
fn join(url: &Url, path: &str) -> Url {
    let mut joined = url.clone();
    if !path.is_empty() {
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        joined.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        if query.is_some() {
            joined.set_query(query);
        }
    }
    joined
}
