/*
 * Commit and recovery of one migration: who has the guest, whatever crashes and whatever is lost. See docs/model.md;
 * scripts/check-model runs it. Each BUG_... is a mistake that the checker must find.
 *
 * A crash or a loss may come between any two statements, so a journal entry and the step behind it are two statements.
 * FAULTS bounds how many there are. Nothing else repeats: every execution ends, and Judge looks at each end.
 */
#ifndef FAULTS
#define FAULTS 3
#endif
#define ATTEMPTS (FAULTS + 3)

/* Two pages: one with content, and a zero page, which is not placed unless somebody waits for it. */
#define DATA 1
#define ZERO 2
#define ALL_PAGES 3
#define NOBODY 0

mtype:phase = { NONE, SWITCHING_OVER, ABORTED, COMMITTED, LOADING, LOADED, RUNNING, COMPLETED };
mtype:guest = { RUNS, MIGRATES, STOPPED, SAVES, MIGRATED, INCOMING, FAILED, PAUSED, QUIT };
mtype:frame = { READY, DEVICE_STATE, SAYS_LOADED, COMMIT, SAYS_RUNNING, ABORT, REQUEST, PAGE, END, COMPLETE, CONFIRMED,
                WELCOME_LOADED, WELCOME_RUNNING, WELCOME_COMPLETED };

/* What outlives an agent: journals, QEMUs, the destination's RAM file and its userfaultfd. */
mtype:phase sourceJournal = NONE;
byte sourceAttempt;
mtype:phase destinationJournal = NONE;
mtype:guest sourceGuest = RUNS;
mtype:guest destinationGuest = INCOMING;
bool deviceStateCame;
bool registered;
byte placed;
byte waitsFor = NOBODY;
bool faultUnread;

/* A connection is both of TCP's: they live and end together, each keeps its order, neither the other's. */
bool open[ATTEMPTS];
byte hellos; /* one bit for each attempt that waits to be accepted, in no order */
chan demand[ATTEMPTS] = [4] of { mtype:frame, byte };
chan bulk[ATTEMPTS] = [3] of { mtype:frame, byte };
chan answers[ATTEMPTS] = [5] of { mtype:frame, byte };

bool sourceUp = true, sourceCrashes, sourceStarted;
bool destinationUp = true, destinationCrashes, destinationStarted;

/* What only the properties look at. */
bool everCommitted, commitSaid, servedWhileRunning;

#define sourceRuns (sourceGuest == RUNS || sourceGuest == MIGRATES)

/* What is sent on a connection that ended goes nowhere. */
inline send(channel, frame, value) {
  atomic {
    if
    :: open[connection] -> channel!frame(value)
    :: !open[connection] -> skip
    fi
  }
}

inline forget(channel) {
  do
  :: nempty(channel) -> channel?_, _
  :: empty(channel) -> break
  od
}

/* ------------------------------------------------------------------------------------------------------ source */

inline dropAnswers() {
  d_step {
    open[connection] = false;
    forget(answers[connection]);
    connection = 0; known = 0; claimed = 0; loaded = false; migrated = false; endSaid = false
  }
}

/* The number is in the journal before anybody hears it. */
inline connect() {
  destinationUp;
  sourceAttempt++;
  assert(sourceAttempt < ATTEMPTS);
  atomic {
    if
    :: destinationUp ->
       connection = sourceAttempt;
       open[connection] = true;
       hellos = hellos | (1 << connection)
    :: !destinationUp -> skip
    fi
  }
}

inline givePage() {
  if
  :: page & known -> page = 0
  :: else ->
     atomic {
       servedWhileRunning = servedWhileRunning || sourceRuns;
       send(demand[connection], PAGE, page);
       claimed = claimed | page;
       page = 0
     }
  fi
}

active proctype Source() {
  byte connection, page, known, claimed;
  bool loaded, migrated, endSaid;
#ifdef BUG_SENT_IS_DELIVERED
  byte claimedBefore;
#endif

start:
  {
    if
    :: !sourceStarted -> sourceStarted = true
    :: sourceStarted && sourceJournal == NONE -> goto ended
    :: sourceJournal == SWITCHING_OVER -> printf("reached: crash while switching over\n"); goto rollBack
    :: sourceJournal == ABORTED ->
       printf("reached: crash after ABORTED\n");
#ifdef BUG_ABORTED_LEAVES_GUEST_STOPPED
       goto tell;
#else
       goto resumeGuest;
#endif
    :: sourceJournal == COMMITTED ->
       printf("reached: crash after COMMITTED\n");
#ifdef BUG_FORGETS_ATTEMPT
       sourceAttempt = 1;
#endif
       goto drain
    fi;

    /* PREPARING: a failure leaves nothing to be undone. */
    if
    :: connect()
    :: true -> goto ended
    fi;
    if
    :: answers[connection]?READY, _
    :: !open[connection] -> goto ended
    :: true -> printf("reached: given up while preparing\n"); goto ended
    fi;

    sourceJournal = SWITCHING_OVER;
    sourceGuest = MIGRATES;
    do
#ifdef BUG_SERVES_BEFORE_STOP
    :: answers[connection]?REQUEST, page -> givePage()
#endif
    :: atomic { sourceGuest == STOPPED -> sourceGuest = SAVES; break }
    :: !open[connection] || sourceGuest == RUNS -> goto rollBack
    :: true -> goto rollBack
    od;
    send(bulk[connection], DEVICE_STATE, 0);
    do
    :: answers[connection]?SAYS_LOADED, _ -> loaded = true
    :: answers[connection]?REQUEST, page -> givePage()
    :: answers[connection]?ABORT, _ -> printf("reached: the destination could not load\n"); goto rollBack
    :: sourceGuest == MIGRATED && !migrated -> migrated = true
#ifdef BUG_COMMITS_BEFORE_QEMU_IS_DONE
    :: loaded -> break
#else
    :: loaded && migrated -> break
#endif
    :: !open[connection] -> printf("reached: lost while switching over\n"); goto rollBack
    :: true -> /* cancelled, a timeout, or an error of QEMU */
       printf("reached: given up while switching over\n");
#ifdef BUG_GOES_ON_AFTER_TIMEOUT
       sourceGuest = RUNS
#else
       goto rollBack
#endif
    od;

#ifdef BUG_COMMIT_BEFORE_JOURNAL
    atomic { commitSaid = true; send(demand[connection], COMMIT, 0) };
#endif
    atomic { sourceJournal = COMMITTED; everCommitted = true };
#ifdef BUG_CANCELS_LATE
    if
    :: true -> goto rollBack
    :: true -> skip
    fi;
#endif
#ifndef BUG_COMMIT_BEFORE_JOURNAL
    atomic { commitSaid = true; send(demand[connection], COMMIT, 0) };
#endif
    goto drain;

    /* ABORTED: the guest runs here, and a destination that may be in doubt is told so. */
rollBack:
#ifndef BUG_FORGETS_ABORTED
    sourceJournal = ABORTED;
#endif
resumeGuest:
    sourceGuest = RUNS;
#ifdef BUG_FORGETS_ABORTED
    sourceJournal = NONE;
#endif
tell:
    do
    :: connection == 0 ->
       connect();
       if
       :: connection == 0 -> skip
       :: answers[connection]?WELCOME_LOADED, _ -> printf("reached: in doubt, then ABORT\n")
       :: connection != 0 && !open[connection] -> dropAnswers()
       fi
    :: connection != 0 ->
       send(demand[connection], ABORT, 0);
#ifdef BUG_ABORT_UNANSWERED
       sourceJournal = NONE;
       goto ended;
#endif
       do
       :: answers[connection]?ABORT, _ ->
          sourceJournal = NONE;
          goto ended
       :: answers[connection]?SAYS_LOADED, _
       :: answers[connection]?REQUEST, _
       :: !open[connection] -> dropAnswers(); break
       od;
#ifdef BUG_FORGETS_ABORTED
       goto ended;
#endif
    od;

    /* COMMITTED and DRAINING: the guest never runs here again, and this ends with COMPLETE only. */
drain:
    do
    :: connection == 0 ->
       connect();
       if
       :: connection == 0 -> skip
       :: answers[connection]?WELCOME_LOADED, known ->
          claimed = known;
#ifndef BUG_COMMIT_NOT_REPEATED
          atomic { commitSaid = true; send(demand[connection], COMMIT, 0) };
#endif
          printf("reached: in doubt, then COMMIT\n")
       :: answers[connection]?WELCOME_RUNNING, known ->
#ifdef BUG_SENT_IS_DELIVERED
          claimed = claimedBefore;
#else
          claimed = known;
#endif
          printf("reached: a drain goes on\n")
       :: answers[connection]?WELCOME_COMPLETED, _ ->
          printf("reached: COMPLETE is said again\n");
          goto complete
       :: connection != 0 && !open[connection] -> dropAnswers()
       fi
    :: answers[connection]?SAYS_RUNNING, _
    :: answers[connection]?REQUEST, page -> givePage()
    :: connection != 0 && claimed != ALL_PAGES ->
       atomic {
         page = (claimed & DATA -> ZERO : DATA);
         servedWhileRunning = servedWhileRunning || sourceRuns;
         claimed = claimed | page;
         send(bulk[connection], PAGE, page);
         page = 0
       }
    :: connection != 0 && claimed == ALL_PAGES && !endSaid ->
       atomic { send(demand[connection], END, 0); endSaid = true }
    :: answers[connection]?COMPLETE, _ -> goto complete
    :: connection != 0 && !open[connection] ->
#ifdef BUG_SENT_IS_DELIVERED
       claimedBefore = claimed;
#endif
       dropAnswers()
    od;

complete:
#ifdef BUG_CONFIRMS_BEFORE_JOURNAL
    send(demand[connection], CONFIRMED, 0);
    sourceJournal = NONE
#else
    sourceJournal = NONE;
    send(demand[connection], CONFIRMED, 0)
#endif
  } unless {
    atomic {
      sourceCrashes ->
      sourceCrashes = false;
      dropAnswers();
      page = 0;
      goto start
    }
  };
ended:
  atomic { dropAnswers(); sourceUp = false; page = 0 }
}

/* QEMU's own steps. Where its stream breaks it lets the guest run again, and asks nobody. */
active proctype SourceQemu() {
  do
  :: atomic { sourceGuest == MIGRATES -> sourceGuest = STOPPED }
  :: atomic { sourceGuest == SAVES -> sourceGuest = MIGRATED }
  :: atomic {
       (sourceGuest == MIGRATES || sourceGuest == STOPPED || sourceGuest == SAVES) && !open[1] ->
       sourceGuest = RUNS;
       printf("reached: QEMU resumes the guest by itself\n")
     }
  od
}

/* ------------------------------------------------------------------------------------------------- destination */

inline dropFrames() {
  d_step { open[connection] = false; forget(demand[connection]); forget(bulk[connection]); connection = 0; endCame = false }
}

inline closeAll() {
  d_step { hellos = 0; open[sourceAttempt] = false }
  dropFrames();
  d_step { page = 0; known = 0; asked = 0; accepted = false; toldToAbort = false; lastAttempt = 0 }
}

/* A source that comes anew replaces the connection from before, which may look alive here. */
inline accept() {
  atomic {
    attempt = 1;
    do
    :: hellos & (1 << attempt) -> break
    :: hellos >> (attempt + 1) -> attempt++
    od;
    hellos = hellos & ~(1 << attempt);
    accepted = attempt > lastAttempt;
    if
    :: accepted -> dropFrames(); connection = attempt; lastAttempt = attempt
    :: !accepted -> assert(attempt != sourceAttempt); open[attempt] = false
    fi;
    attempt = 0
  }
}

/* Nobody may sleep on a page that is there, nor on one that nobody was asked for. */
inline wake(pages) {
  atomic {
    if
    :: waitsFor & (pages) -> waitsFor = NOBODY; faultUnread = false
    :: else -> skip
    fi
  }
}

inline takePage() {
  if
  :: page & known -> skip
  :: !(page & known) && (page == DATA || (asked & page)) ->
     placed = placed | page;
     atomic { known = known | page; wake(page) }
  :: else -> known = known | page
  fi;
#ifdef BUG_COUNTS_BY_KIND
  zeroCounted = zeroCounted || page == ZERO;
#endif
  page = 0

}

inline readFault() {
  atomic { faultUnread = false; page = waitsFor };
  if
  :: page & known ->
     placed = placed | page;
     wake(page);
     page = 0
  :: else ->
     atomic { asked = asked | page; send(answers[connection], REQUEST, page); page = 0 }
  fi
}

inline askAgain() {
  if
  :: asked & ~known -> send(answers[connection], REQUEST, asked & ~known)
  :: else -> skip
  fi
}

active proctype Destination() {
  byte connection, attempt, lastAttempt, page, known, asked;
  bool accepted, toldToAbort, endCame;
#ifdef BUG_COUNTS_BY_KIND
  bool zeroCounted;
#endif

start:
  {
    if
    :: !destinationStarted -> destinationStarted = true
    :: destinationStarted && destinationJournal == NONE -> goto ended
    :: destinationJournal == LOADING -> printf("reached: crash while loading\n"); goto quit
    :: destinationJournal == LOADED -> printf("reached: crash in doubt\n"); known = placed; goto loaded
    :: destinationJournal == RUNNING ->
       printf("reached: crash while draining\n");
       if
       :: destinationGuest == PAUSED -> destinationGuest = RUNS
       :: else -> skip
       fi;
       known = placed;
#ifndef BUG_WAKES_NOBODY
       wake(ALL_PAGES);
#endif
       goto drain
    :: destinationJournal == COMPLETED -> printf("reached: crash after COMPLETED\n"); goto release
    fi;

    /* LISTENING: nothing was touched. */
    do
    :: hellos ->
       accept();
       break
    od;

    destinationJournal = LOADING;
    registered = true;
    send(answers[connection], READY, 0);
    do
    :: bulk[connection]?DEVICE_STATE, _ -> deviceStateCame = true
    :: demand[connection]?PAGE, page -> takePage()
    :: demand[connection]?ABORT, _ -> toldToAbort = true; goto quit
    :: faultUnread -> readFault()
    :: destinationGuest == PAUSED -> break
    :: destinationGuest == FAILED -> toldToAbort = true; goto quit
    :: !open[connection] -> goto quit
    :: hellos -> accept(); goto quit
    od;

#ifndef BUG_LOADED_NOT_JOURNALED
    destinationJournal = LOADED;
#endif
    send(answers[connection], SAYS_LOADED, 0);
#ifdef BUG_RUNS_WHEN_LOADED
    destinationGuest = RUNS;
#endif

loaded:
    do
    :: demand[connection]?COMMIT, _ -> break
    :: demand[connection]?ABORT, _ -> toldToAbort = true; goto quit
    :: bulk[connection]?PAGE, page -> takePage()
    :: connection != 0 && !open[connection] -> dropFrames()
#ifdef BUG_DOUBT_ENDS_BY_ITSELF
    :: connection == 0 -> goto quit
#endif
    :: hellos ->
       accept();
       if
       :: accepted -> accepted = false; send(answers[connection], WELCOME_LOADED, known)
       :: else -> skip
       fi
    od;

    destinationGuest = RUNS;
    destinationJournal = RUNNING;
    send(answers[connection], SAYS_RUNNING, 0);

    /* DRAINING, with or without a source. */
drain:
    do
    :: faultUnread -> readFault()
    :: demand[connection]?PAGE, page -> takePage()
    :: bulk[connection]?PAGE, page -> takePage()
    :: demand[connection]?END, _ -> endCame = true
#ifdef BUG_COUNTS_BY_KIND
    :: endCame && known == ALL_PAGES && zeroCounted -> break
#else
    :: endCame && known == ALL_PAGES -> break
#endif
    :: connection != 0 && !open[connection] -> dropFrames()
    :: hellos ->
       accept();
       if
       :: accepted -> accepted = false; send(answers[connection], WELCOME_RUNNING, known); askAgain()
       :: else -> printf("reached: an old HELLO\n")
       fi
    od;

#ifndef BUG_COMPLETED_NOT_JOURNALED
    destinationJournal = COMPLETED;
#endif
release:
    atomic { assert(waitsFor == NOBODY || faultUnread); registered = false; wake(ALL_PAGES) };
    send(answers[connection], COMPLETE, 0);
    do
    :: demand[connection]?CONFIRMED, _ -> printf("reached: confirmed\n"); break
    :: demand[connection]?PAGE, _
    :: connection != 0 && !open[connection] -> dropFrames()
    :: hellos ->
       accept();
       if
       :: accepted -> accepted = false; send(answers[connection], WELCOME_COMPLETED, 0)
       :: else -> skip
       fi
#ifdef BUG_LINGERS_AND_FORGETS
    :: true -> break
#endif
    od;
    destinationJournal = NONE;
    goto ended;

quit:
    if
    :: toldToAbort ->
#ifndef BUG_HEARD_BEFORE_JOURNAL
       destinationJournal = LOADING;
#endif
       send(answers[connection], ABORT, 0)
    :: else -> skip
    fi;
    atomic { destinationGuest = QUIT; waitsFor = NOBODY; faultUnread = false };
    destinationJournal = NONE
  } unless {
    atomic {
      destinationCrashes ->
      destinationCrashes = false;
      closeAll();
#ifdef BUG_COUNTS_BY_KIND
      zeroCounted = false;
#endif
      goto start
    }
  };
ended:
  atomic { closeAll(); destinationUp = false }
}

/* Whoever touches a page at the destination: QEMU while it loads, later the guest. */
inline touch(pages) {
  do
  :: placed & pages -> break
  :: atomic { !(placed & pages) && registered -> waitsFor = pages; faultUnread = true }
     waitsFor == NOBODY
  :: atomic { !(placed & pages) && !registered -> assert(pages == ZERO); break }
  od
}

active proctype DestinationQemu() {
  {
    if
    :: registered -> touch(DATA)
    :: deviceStateCame
    fi;
    deviceStateCame;
    if
    :: destinationGuest = PAUSED
    :: destinationGuest = FAILED
    fi;
    destinationGuest == RUNS;
    if
    :: touch(ZERO); touch(DATA)
    :: touch(DATA); touch(ZERO)
    :: true
    fi
  } unless { destinationGuest == QUIT }
}

/* ------------------------------------------------------------------------------------- failures and properties */

active proctype Faults() {
  byte faults;
  do
  :: atomic { faults < FAULTS && sourceUp && !sourceCrashes -> sourceCrashes = true; faults++ }
  :: atomic { faults < FAULTS && destinationUp && !destinationCrashes -> destinationCrashes = true; faults++ }
  :: atomic { faults < FAULTS && open[sourceAttempt] -> open[sourceAttempt] = false; faults++ }
  :: faults < FAULTS -> faults = FAULTS
  od
}

active proctype Monitor() {
  if
  :: atomic { sourceRuns && destinationGuest == RUNS -> assert(false) }
  :: atomic { everCommitted && sourceRuns -> assert(false) }
  :: atomic { everCommitted && servedWhileRunning -> assert(false) }
  :: atomic { destinationGuest == RUNS && !(everCommitted && commitSaid) -> assert(false) }
  :: atomic { commitSaid && !everCommitted -> assert(false) }
  fi
}

/*
 * Nothing moves any more, and nothing fails. An agent may wait for the other then only where that one has ended and
 * nothing depends on it: it would end by a timeout and leave its journal.
 */
#define atSource (sourceGuest == RUNS && !everCommitted)
#define atDestination (destinationGuest == RUNS && sourceGuest == MIGRATED && !registered && waitsFor == NOBODY)
#define sourceEnded (!sourceUp && sourceJournal == NONE)
#define destinationEnded (!destinationUp && destinationJournal == NONE)
#define untouched (destinationGuest == INCOMING && !registered && destinationJournal == NONE)

active proctype Judge() {
  timeout ->
  if
  :: atSource && untouched && sourceEnded -> printf("ending: untouched\n")
  :: atSource && destinationGuest == QUIT && destinationEnded && sourceEnded -> printf("ending: rolled back\n")
  :: atSource && destinationGuest == QUIT && destinationEnded && sourceUp && sourceJournal == ABORTED ->
     printf("ending: rolled back, nobody is left to be told\n")
  :: atDestination && sourceEnded && destinationEnded -> printf("ending: completed\n")
  :: atDestination && sourceEnded && destinationUp && destinationJournal == COMPLETED ->
     printf("ending: completed, unconfirmed\n")
  :: else -> assert(false)
  fi
}
