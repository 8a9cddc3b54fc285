//! A broker of its own for each test, and a socket that speaks frames.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lw_broker::{Broker, BrokerConfig};
use lw_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use lw_protocol::messages::{CreateTopicsRequest, TopicName};
use lw_protocol::{Decodable, HeaderVersion, Request, StrBytes, frame};
use lw_stdx::clock::SystemClock;
use lw_stdx::disk::{Disk, RealDisk};
use lw_storage::{Config, Storage};
use tokio::runtime::Runtime;
use tokio::sync::watch;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) broker: Arc<Broker>,
    pub(crate) storage: Storage,
    runtime: Option<Runtime>,
    stop: watch::Sender<bool>,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::with(BrokerConfig::default())
    }

    pub(crate) fn with(config: BrokerConfig) -> Server {
        Server::on(Arc::new(RealDisk), config)
    }

    pub(crate) fn on(disk: Arc<dyn Disk>, config: BrokerConfig) -> Server {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::new());
        let mut storage_config = Config::new(folder.path());
        storage_config.wal_file_bytes = 4 << 20;
        let storage = Storage::open(disk, clock, storage_config).unwrap();
        let broker = Broker::new(storage.clone(), config);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, shutdown) = watch::channel(false);
        let serving = broker.clone();
        runtime.spawn(async move { serving.serve(listener, shutdown).await });
        Server {
            address,
            broker,
            storage,
            runtime: Some(runtime),
            stop,
            _folder: folder,
        }
    }

    /// A socket to another broker on the same storage, which remembers nothing but what is there.
    pub(crate) fn second_broker(&self) -> Socket {
        let broker = Broker::new(self.storage.clone(), BrokerConfig::default());
        let runtime = self.runtime.as_ref().unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = self.stop.subscribe();
        runtime.spawn(async move { broker.serve(listener, shutdown).await });
        Socket::open(address)
    }

    pub(crate) fn now(&self) -> i64 {
        lw_stdx::clock::Clock::now_ms(&SystemClock::new())
    }

    pub(crate) fn connect(&self) -> Socket {
        Socket::open(self.address)
    }
}

impl Socket {
    pub(crate) fn open(address: SocketAddr) -> Socket {
        let stream = TcpStream::connect(address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Socket {
            stream,
            correlation_id: 0,
        }
    }
}

impl Server {
    /// Creates a topic and gives a socket to use it with.
    pub(crate) fn with_topic(
        &self,
        name: &str,
        partitions: i32,
        config: &[(&str, &str)],
    ) -> Socket {
        let mut socket = self.connect();
        let configs = config.iter().map(|(name, value)| {
            CreatableTopicConfig::default()
                .with_name(text(name))
                .with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(TopicName(text(name)))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let reply = socket.call(7, &CreateTopicsRequest::default().with_topics(vec![topic]));
        assert_eq!(
            reply.topics[0].error_code, 0,
            "{:?}",
            reply.topics[0].error_message
        );
        socket
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

pub(crate) struct Socket {
    pub(crate) stream: TcpStream,
    correlation_id: i32,
}

impl Socket {
    /// Sends a request and reads its reply, which must use up its frame.
    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        self.try_call(version, request)
            .unwrap_or_else(|error| panic!("api {} v{version}: {error}", R::KEY))
    }

    pub(crate) fn try_call<R: Request>(
        &mut self,
        version: i16,
        request: &R,
    ) -> io::Result<R::Response> {
        self.send(version, request);
        let mut reply = self.read_frame()?;
        let correlation_id = i32::from_be_bytes(*reply.first_chunk().unwrap());
        assert_eq!(correlation_id, self.correlation_id);
        let header = if R::Response::header_version(version) >= 1 {
            5
        } else {
            4
        };
        let mut body = reply.split_off(header);
        let response = R::Response::decode(&mut body, version).map_err(io::Error::other)?;
        assert!(
            body.is_empty(),
            "{} bytes follow the reply of api {} v{version}",
            body.len(),
            R::KEY
        );
        Ok(response)
    }

    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation_id += 1;
        let frame = frame::encode_request(self.correlation_id, version, "test", request).unwrap();
        self.stream.write_all(&frame).unwrap();
    }

    pub(crate) fn read_frame(&mut self) -> io::Result<Bytes> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok(frame.into())
    }

    /// Whether the server hung up without a word.
    pub(crate) fn is_closed(&mut self) -> bool {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

pub(crate) fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

pub(crate) fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}
