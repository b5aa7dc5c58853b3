package dev.postcopy.memory;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class PageBitmapTest {

  @Test
  void tellsWhoSetAndWhoClearedABit() {
    PageBitmap bitmap = new PageBitmap(100);

    assertThat(bitmap.set(70)).as("first to set page 70").isTrue();
    assertThat(bitmap.set(70)).as("second to set page 70").isFalse();
    assertThat(bitmap.get(70)).isTrue();
    assertThat(bitmap.get(6)).as("the same bit of another word").isFalse();
    assertThat(bitmap.clear(70)).as("first to clear page 70").isTrue();
    assertThat(bitmap.clear(70)).as("second to clear page 70").isFalse();
    assertThat(bitmap.get(70)).isFalse();
  }

  @ParameterizedTest(name = "{0}+{1} of 200 pages")
  @CsvSource({
    "0,0", "0,1", "0,64", "0,65", "63,1", "63,2", "64,64", "1,62", "5,190", "128,72", "199,1",
    "0,200", "192,8", "200,0"
  })
  void setsExactlyTheBitsOfARange(int first, int count) {
    PageBitmap bitmap = new PageBitmap(200);

    assertThat(bitmap.setRange(first, count)).as("newly set").isEqualTo(count);

    for (int page = 0; page < 200; page++) {
      assertThat(bitmap.get(page))
          .as("page %d", page)
          .isEqualTo(page >= first && page < first + count);
    }
    assertThat(bitmap.cardinality()).isEqualTo(count);
    assertThat(bitmap.setRange(first, count)).as("newly set by the second call").isZero();
  }

  @Test
  void countsOnlyThePagesThatARangeSetFirst() {
    PageBitmap bitmap = new PageBitmap(300);
    bitmap.set(0);
    bitmap.setRange(60, 10);
    bitmap.set(299);

    assertThat(bitmap.setRange(0, 300)).isEqualTo(300 - 12);
    assertThat(bitmap.cardinality()).isEqualTo(300);
  }

  @ParameterizedTest(name = "{0} pages")
  @ValueSource(ints = {1, 63, 64, 65, 127, 128, 129})
  void findsNothingBeyondTheLastPage(int pageCount) {
    PageBitmap empty = new PageBitmap(pageCount);
    PageBitmap full = new PageBitmap(pageCount);
    full.setRange(0, pageCount);

    assertThat(empty.nextSet(0)).as("set in an empty bitmap").isEqualTo(pageCount);
    assertThat(full.nextClear(0)).as("clear in a full bitmap").isEqualTo(pageCount);
    assertThat(empty.nextClear(pageCount - 1))
        .as("the last page is clear")
        .isEqualTo(pageCount - 1);
    assertThat(full.nextSet(pageCount - 1)).as("the last page is set").isEqualTo(pageCount - 1);
    for (int from : new int[] {pageCount, pageCount + 1, Integer.MAX_VALUE}) {
      assertThat(full.nextSet(from)).as("from %d", from).isEqualTo(pageCount);
      assertThat(empty.nextClear(from)).as("from %d", from).isEqualTo(pageCount);
    }
  }

  @Test
  void hasNoPagesWhereThereAreNone() {
    PageBitmap none = new PageBitmap(0);

    assertThat(none.nextClear(0)).isZero();
    assertThat(none.nextSet(0)).isZero();
    assertThat(none.cardinality()).isZero();
  }

  @ParameterizedTest(name = "seed {0}, {1} pages")
  @CsvSource({"1,1", "2,64", "3,65", "4,1000", "5,4096"})
  void behavesLikeABitSet(long seed, int pageCount) {
    Random random = new Random(seed);
    PageBitmap bitmap = new PageBitmap(pageCount);
    BitSet model = new BitSet(pageCount);
    for (int step = 0; step < 20_000; step++) {
      int page = random.nextInt(pageCount);
      String where = "seed %d, step %d, page %d".formatted(seed, step, page);
      switch (random.nextInt(6)) {
        case 0 -> {
          assertThat(bitmap.set(page)).as("set: " + where).isEqualTo(!model.get(page));
          model.set(page);
        }
        case 1 -> {
          int count = Math.min(pageCount - page, random.nextInt(200));
          assertThat(bitmap.clear(page)).as("clear: " + where).isEqualTo(model.get(page));
          model.clear(page);
          for (int next = page + 1; next < page + count; next++) {
            bitmap.clear(next);
            model.clear(next);
          }
        }
        case 2 -> {
          int count = Math.min(pageCount - page, random.nextInt(200));
          int clear = count - model.get(page, page + count).cardinality();
          assertThat(bitmap.setRange(page, count)).as("setRange: " + where).isEqualTo(clear);
          model.set(page, page + count);
        }
        case 3 -> assertThat(bitmap.get(page)).as("get: " + where).isEqualTo(model.get(page));
        case 4 ->
            assertThat(bitmap.nextClear(page))
                .as("nextClear: " + where)
                .isEqualTo(Math.min(pageCount, model.nextClearBit(page)));
        default -> {
          int next = model.nextSetBit(page);
          assertThat(bitmap.nextSet(page))
              .as("nextSet: " + where)
              .isEqualTo(next < 0 ? pageCount : next);
        }
      }
    }
    assertThat(bitmap.cardinality()).isEqualTo(model.cardinality());
  }

  /** As the agents tell each other of their pages, whose first need not be that of a word. */
  @ParameterizedTest(name = "{0} pages, {1} of them before")
  @CsvSource({"1,0", "63,0", "64,0", "65,0", "1000,0", "1003,3", "1000,63", "1024,64", "200,70"})
  void whatIsReadByWordsAndSetByWordsIsTheSame(int pageCount, int before) {
    Random random = new Random(pageCount);
    PageBitmap from = new PageBitmap(pageCount - before);
    for (int page = 0; page < from.pageCount(); page++) {
      if (random.nextBoolean()) {
        from.set(page);
      }
    }
    PageBitmap to = new PageBitmap(pageCount);

    for (int first = 0; first < from.pageCount(); first += 64) {
      to.setWord(before + first, from.word(first));
    }

    assertThat(to.cardinality()).isEqualTo(from.cardinality());
    for (int page = 0; page < from.pageCount(); page++) {
      assertThat(to.get(before + page)).as("page %d", page).isEqualTo(from.get(page));
    }
  }

  /** The claim of a migration: two writers and more, pages one by one and in runs. */
  @ParameterizedTest(name = "{0} threads")
  @ValueSource(ints = {2, 4, 8})
  void letsExactlyOneThreadClaimEachPage(int threads) throws Exception {
    int pageCount = 200_003;
    PageBitmap bitmap = new PageBitmap(pageCount);
    CyclicBarrier start = new CyclicBarrier(threads);
    List<Callable<BitSet>> claimers = new ArrayList<>();
    for (int thread = 0; thread < threads; thread++) {
      int stride = thread;
      claimers.add(
          () -> {
            start.await();
            BitSet mine = new BitSet(pageCount);
            // Half of them go up and half come down, so that they meet in every word.
            for (int i = 0; i < pageCount; i++) {
              int page = stride % 2 == 0 ? i : pageCount - 1 - i;
              if (bitmap.set(page)) {
                mine.set(page);
              }
            }
            return mine;
          });
    }

    BitSet all = new BitSet(pageCount);
    int claims = 0;
    for (BitSet mine : run(claimers)) {
      claims += mine.cardinality();
      all.or(mine);
    }

    assertThat(all.cardinality()).as("pages that somebody claimed").isEqualTo(pageCount);
    assertThat(claims).as("claims, one for each page").isEqualTo(pageCount);
  }

  @Test
  void countsEachPageOnceWhenRangesOfSeveralThreadsOverlap() throws Exception {
    int pageCount = 1 << 18;
    int threads = 4;
    PageBitmap bitmap = new PageBitmap(pageCount);
    CyclicBarrier start = new CyclicBarrier(threads);
    List<Callable<Integer>> claimers = new ArrayList<>();
    for (int thread = 0; thread < threads; thread++) {
      int length = 7 + 30 * thread;
      claimers.add(
          () -> {
            start.await();
            int newlySet = 0;
            for (int first = 0; first < pageCount; first += length) {
              newlySet += bitmap.setRange(first, Math.min(length, pageCount - first));
            }
            return newlySet;
          });
    }

    int counted = run(claimers).stream().mapToInt(Integer::intValue).sum();

    assertThat(counted).as("newly set, summed over all threads").isEqualTo(pageCount);
    assertThat(bitmap.nextClear(0)).as("no page is left out").isEqualTo(pageCount);
  }

  @Test
  void addsAndClearsRangesAcrossWords() {
    PageBitmap other = new PageBitmap(300);
    other.setRange(10, 100);
    other.setRange(190, 20);
    PageBitmap bitmap = new PageBitmap(300);
    bitmap.set(250);

    bitmap.addAll(other, 60, 200);
    assertThat(bitmap.cardinality()).isEqualTo(50 + 10 + 1);
    assertThat(bitmap.nextSet(0)).isEqualTo(60);
    assertThat(bitmap.nextClear(60)).isEqualTo(110);
    assertThat(bitmap.nextClear(190)).isEqualTo(200);

    bitmap.clearRange(61, 135);
    assertThat(bitmap.get(60)).isTrue();
    assertThat(bitmap.nextSet(61)).isEqualTo(196);
    assertThat(bitmap.get(250)).isTrue();
    bitmap.clearRange(0, 300);
    assertThat(bitmap.cardinality()).isZero();
  }

  private static <T> List<T> run(List<Callable<T>> tasks) throws Exception {
    try (ExecutorService executor = Executors.newFixedThreadPool(tasks.size())) {
      List<T> results = new ArrayList<>();
      for (Future<T> future : executor.invokeAll(tasks)) {
        results.add(future.get());
      }
      return results;
    }
  }
}
