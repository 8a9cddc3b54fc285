//! A small blocking Kafka client for our own command line.
