package dev.postcopy.linux.abi;

import static org.assertj.core.api.Assertions.assertThat;

import dev.postcopy.linux.CompiledProbe;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.lang.foreign.PaddingLayout;
import java.lang.foreign.StructLayout;
import java.lang.reflect.Field;
import java.lang.reflect.Modifier;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/**
 * Compares every public constant and every field of every layout of the raw layer with what the C
 * compiler says. They are found by reflection: one that is added later is compared too, or does not
 * compile in C.
 */
class AbiTest {
  private static final List<Class<?>> CLASSES =
      List.of(
          Errno.class,
          FileCalls.class,
          MemoryCalls.class,
          PagemapScan.class,
          Poll.class,
          ProcmapQuery.class,
          Ptrace.class,
          Sched.class,
          Socket.class,
          Stat.class,
          Syscalls.class,
          Uffd.class);

  @Test
  void everyConstantAndLayoutIsWhatTheCompilerSays() throws Exception {
    Map<String, Long> ours = new LinkedHashMap<>();
    for (Class<?> type : CLASSES) {
      for (Field field : type.getFields()) {
        addTo(ours, field);
      }
    }
    assertThat(ours).as("constants and layout fields found").hasSizeGreaterThan(150);

    Map<String, Long> theirs = CompiledProbe.evaluate(ours.keySet());

    assertThat(ours).as("our values, and those of the C headers").isEqualTo(theirs);
  }

  @Test
  void everyClassWithConstantsIsCompared() throws Exception {
    List<String> inFolder = CompiledProbe.classesBeside(Downcalls.class);
    List<String> compared = CLASSES.stream().map(Class::getSimpleName).toList();

    assertThat(inFolder)
        .as("classes of the raw layer")
        .filteredOn(name -> !name.equals("Downcalls") && !name.equals("package-info"))
        .containsExactlyInAnyOrderElementsOf(compared);
  }

  private static void addTo(Map<String, Long> values, Field field) throws IllegalAccessException {
    if (!Modifier.isStatic(field.getModifiers())) {
      return;
    }
    switch (field.get(null)) {
      case StructLayout layout -> addLayout(values, layout);
      case Number number -> values.put(field.getName(), asInC(number));
      case null, default -> {
        // VarHandles are made from the layouts.
      }
    }
  }

  private static Long asInC(Number number) {
    return number.longValue();
  }

  private static void addLayout(Map<String, Long> values, StructLayout layout) {
    String struct = layout.name().orElseThrow();
    values.put("sizeof(" + struct + ")", layout.byteSize());
    fieldsOf(layout)
        .forEach(
            field -> {
              String name = field.name().orElseThrow();
              long offset = layout.byteOffset(PathElement.groupElement(name));
              values.put("offsetof(" + struct + ", " + name + ")", offset);
              values.put("sizeof(((" + struct + " *)0)->" + name + ")", field.byteSize());
            });
  }

  private static Stream<MemoryLayout> fieldsOf(StructLayout layout) {
    return layout.memberLayouts().stream().filter(member -> !(member instanceof PaddingLayout));
  }
}
