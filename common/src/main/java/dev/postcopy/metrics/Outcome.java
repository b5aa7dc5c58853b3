package dev.postcopy.metrics;

import dev.postcopy.cli.ExitCode;

/** How a command ended: for the shell, and for whoever reads the report. */
public record Outcome(ExitCode exitCode, MigrationReport report) {}
