package dev.postcopy.dest.session;

import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.dest.fault.FaultReader;
import dev.postcopy.dest.fault.PageRequester;
import dev.postcopy.dest.page.PageDropper;
import dev.postcopy.dest.page.PagePlacer;
import dev.postcopy.dest.page.PageReceiver;
import dev.postcopy.dest.page.PageStates;
import dev.postcopy.dest.page.PlacingFailedException;
import dev.postcopy.linux.RamFile;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.memory.RamLayout;
import dev.postcopy.metrics.FaultTimes;
import dev.postcopy.metrics.LatencyRecorder;
import dev.postcopy.metrics.MigrationProgress;
import dev.postcopy.metrics.MigrationReport;
import dev.postcopy.transport.Connection;
import dev.postcopy.wire.ControlFrame.DestinationStats;
import io.netty.channel.IoEventLoop;
import java.util.List;
import java.util.Queue;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Everything that serves faults and takes pages in, put together: fault, request, page, place, wake
 * on the demand connection's loop; pushed pages on the bulk connection's loop, with a placer of its
 * own. Connections may go and others come; faults are read all the time. For the session's thread.
 */
final class FaultServing {

  private final GuestRam ram;
  private final Userfaultfd userfaultfd;
  private final PageStates pages;
  private final Consumer<DestinationEvent> events;
  private final FaultTimes times;
  private final AtomicInteger links = new AtomicInteger();
  private final PagePlacer demandPlacer;
  private final PagePlacer bulkPlacer;
  private final PageRequester requester;
  private @Nullable PageDropper dropper;
  private volatile @Nullable FaultReader faults;
  private @Nullable IoEventLoop loop;
  private volatile @Nullable PageReceiver demandReceiver;
  private volatile long faultsOfClosedReaders;
  private volatile int demandPagesOfClosedLinks;

  /**
   * @param pages what is here already
   * @param times gets how long each fault took
   */
  FaultServing(
      GuestRam ram,
      Userfaultfd userfaultfd,
      PageStates pages,
      FaultTimes times,
      Consumer<DestinationEvent> events) {
    this.times = times;
    this.ram = ram;
    this.userfaultfd = userfaultfd;
    this.pages = pages;
    this.events = events;
    PlacementSlot slot = new PlacementSlot();
    demandPlacer = new PagePlacer(ram, pages, userfaultfd, slot::onPlaced);
    bulkPlacer = new PagePlacer(ram, pages, userfaultfd, slot::onPlaced);
    requester = new PageRequester(pages, demandPlacer, times);
    slot.requester = requester;
  }

  /** Serves faults from the moment when this returns, with nothing here yet. */
  static FaultServing start(
      GuestRam ram,
      Userfaultfd userfaultfd,
      Connection demand,
      Connection bulk,
      DeviceStateFeeder feeder,
      Queue<DestinationEvent> events) {
    FaultServing serving =
        new FaultServing(
            ram,
            userfaultfd,
            new PageStates(ram.layout().pageCount()),
            new FaultTimes(),
            events::add);
    serving.connect(demand, bulk, feeder, events::add);
    return serving;
  }

  /**
   * The source may take pages back on the next link that is connected, until {@link #keepPages}.
   *
   * @param files the guest's RAM, one for each block; closed here
   */
  void letPagesBeTakenBack(List<RamFile> files) {
    dropper = new PageDropper(ram.layout(), pages, files);
  }

  /** From here on what has arrived stays. */
  void keepPages() {
    if (dropper != null) {
      dropper.end();
    }
  }

  /** Serves faults without a source, as far as that goes, on {@code loop}. */
  void serveAlone(IoEventLoop newLoop) {
    readOn(newLoop);
  }

  /** Serves faults and takes pages from the moment when this returns. */
  void connect(
      Connection demand,
      Connection bulk,
      DeviceStateFeeder feeder,
      Consumer<DestinationEvent> link) {
    takePages(demand, bulk, feeder, link);
    requestOn(demand);
  }

  /** The same with a source that comes back: first it has to hear which pages are here. */
  void connectAgain(DestinationLink link) {
    takePages(link.demand(), link.bulk(), new DeviceStateFeeder(link.bulk()), link.events());
    // Behind the sinks: a source that has heard it sends pages. Before the requests: a source that
    // has not answers none.
    link.tellReceived(pages);
    requestOn(link.demand());
  }

  private void takePages(
      Connection demand,
      Connection bulk,
      DeviceStateFeeder feeder,
      Consumer<DestinationEvent> link) {
    links.incrementAndGet();
    stopReading();
    PageReceiver receiver = PageReceiver.ofAnswers(ram.layout(), pages, demandPlacer);
    demandReceiver = receiver;
    demand.handOver(Source.demandSink(receiver, pages, link, demand));
    bulk.handOver(
        Source.bulkSink(
            PageReceiver.ofPushes(ram.layout(), pages, bulkPlacer),
            pages,
            link,
            bulk,
            feeder,
            dropper));
  }

  private void requestOn(Connection demand) {
    demand.execute(() -> requester.connect(demand));
    readOn(demand.eventLoop());
  }

  /**
   * The connections are closed; faults are read on, on the loop that was the demand's, also where
   * one could not be served. That is tried again.
   */
  void disconnect() {
    demandPagesOfClosedLinks = demandPages();
    demandReceiver = null;
    if (loop != null) {
      loop.submit(requester::disconnect).syncUninterruptibly();
      stopReading();
      readOn(loop);
      loop.execute(this::serveKnown);
    }
  }

  private void serveKnown() {
    try {
      requester.serveKnown();
    } catch (PlacingFailedException e) {
      onFailure(e);
    }
  }

  private void readOn(IoEventLoop newLoop) {
    loop = newLoop;
    faults = FaultReader.start(newLoop, userfaultfd, ram, requester, this::onFailure);
  }

  private void onFailure(Throwable failure) {
    events.accept(
        failure instanceof PlacingFailedException placing && placing.isCurable()
            ? new DestinationEvent.OutOfMemory(String.valueOf(failure.getMessage()))
            : new DestinationEvent.ServingFailed(failure.toString()));
  }

  PageStates pages() {
    return pages;
  }

  /** Faults are not read any more; whoever faults waits. */
  void stop() {
    stopReading();
    keepPages();
    if (dropper != null) {
      dropper.close();
      dropper = null;
    }
  }

  private void stopReading() {
    FaultReader reader = faults;
    if (reader != null) {
      reader.stop();
      faultsOfClosedReaders = faults();
      faults = null;
    }
  }

  private long faults() {
    FaultReader reader = faults;
    return faultsOfClosedReaders + (reader == null ? 0 : reader.faults());
  }

  private int demandPages() {
    PageReceiver receiver = demandReceiver;
    return demandPagesOfClosedLinks + (receiver == null ? 0 : receiver.newPages());
  }

  /** How far it is, whatever the phase; from any thread. */
  MigrationProgress progress() {
    DestinationStats stats = stats();
    return new MigrationProgress(
        "",
        pages.pageCount(),
        counts(stats),
        (long) pages.dataPages() * RamLayout.PAGE_BYTES,
        stats.faults(),
        stats.p50Micros(),
        0,
        Math.max(0, links.get() - 1));
  }

  /** Distinct pages by how they came. */
  static MigrationReport.PageCounts counts(DestinationStats stats) {
    return new MigrationReport.PageCounts(
        stats.demandPages(),
        stats.dataPages() - stats.demandPages(),
        stats.zeroPages(),
        stats.duplicatePages());
  }

  /** The 99th percentile of the first hundred faults, in microseconds; 0 where there was none. */
  long firstFaultsP99Micros() {
    return times.first().micros(99);
  }

  DestinationStats stats() {
    LatencyRecorder latency = times.total();
    return new DestinationStats(
        pages.dataPages(),
        pages.zeroPages(),
        demandPages(),
        pages.duplicatePages(),
        faults(),
        latency.micros(50),
        latency.micros(90),
        latency.micros(99),
        latency.micros(100));
  }

  /** Breaks the circle: placers tell the requester, the requester places. Set before any fault. */
  private static final class PlacementSlot {
    @Nullable PageRequester requester;

    void onPlaced(int first, int count, long arrivedNanos, long placedNanos) {
      if (requester != null) {
        requester.onPlaced(first, count, arrivedNanos, placedNanos);
      }
    }
  }
}
