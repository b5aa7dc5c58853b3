package dev.postcopy.dest.session;

import dev.postcopy.dest.attach.GuestRam;
import dev.postcopy.dest.fault.FaultReader;
import dev.postcopy.dest.fault.PageRequester;
import dev.postcopy.dest.page.PagePlacer;
import dev.postcopy.dest.page.PageReceiver;
import dev.postcopy.dest.page.PageStates;
import dev.postcopy.linux.Userfaultfd;
import dev.postcopy.metrics.LatencyRecorder;
import dev.postcopy.transport.Connection;
import dev.postcopy.wire.ControlFrame.DestinationStats;
import java.util.concurrent.BlockingQueue;
import org.jspecify.annotations.Nullable;

/**
 * Everything that serves faults and takes pages in, put together: fault, request, page, place, wake
 * on the demand connection's loop; pushed pages on the bulk connection's loop, with a placer of its
 * own.
 */
final class FaultServing {

  private final PageStates pages;
  private final LatencyRecorder latency = new LatencyRecorder();
  private final PageReceiver demandReceiver;
  private final FaultReader faults;

  private FaultServing(
      GuestRam ram,
      Userfaultfd userfaultfd,
      Connection demand,
      Connection bulk,
      DeviceStateFeeder feeder,
      BlockingQueue<DestinationEvent> events) {
    pages = new PageStates(ram.layout().pageCount());
    RequesterSlot slot = new RequesterSlot();
    PagePlacer demandPlacer = new PagePlacer(ram, pages, userfaultfd, slot::onPlaced);
    PagePlacer bulkPlacer = new PagePlacer(ram, pages, userfaultfd, slot::onPlaced);
    PageRequester requester = new PageRequester(pages, demandPlacer, demand, latency);
    slot.requester = requester;
    demandReceiver = new PageReceiver(ram.layout(), pages, demandPlacer);
    PageReceiver bulkReceiver = new PageReceiver(ram.layout(), pages, bulkPlacer);
    demand.handOver(Source.demandSink(demandReceiver, pages, events, demand));
    bulk.handOver(Source.bulkSink(bulkReceiver, pages, events, bulk, feeder));
    faults =
        FaultReader.start(
            demand.eventLoop(),
            userfaultfd,
            ram,
            requester,
            failure -> events.add(new DestinationEvent.ServingFailed(failure.toString())));
  }

  /** Serves faults and takes pages from the moment when this returns. */
  static FaultServing start(
      GuestRam ram,
      Userfaultfd userfaultfd,
      Connection demand,
      Connection bulk,
      DeviceStateFeeder feeder,
      BlockingQueue<DestinationEvent> events) {
    return new FaultServing(ram, userfaultfd, demand, bulk, feeder, events);
  }

  PageStates pages() {
    return pages;
  }

  /** Faults are not read any more; whoever faults waits. */
  void stop() {
    faults.stop();
  }

  DestinationStats stats() {
    return new DestinationStats(
        pages.dataPages(),
        pages.zeroPages(),
        demandReceiver.newPages(),
        pages.duplicatePages(),
        faults.faults(),
        latency.micros(50),
        latency.micros(90),
        latency.micros(99),
        latency.micros(100));
  }

  /** Breaks the circle: placers tell the requester, the requester places. Set before any fault. */
  private static final class RequesterSlot {
    @Nullable PageRequester requester;

    void onPlaced(int first, int count) {
      if (requester != null) {
        requester.onPlaced(first, count);
      }
    }
  }
}
