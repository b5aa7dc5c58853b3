package dev.postcopy.arch;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.GeneralCodingRules.ACCESS_STANDARD_STREAMS;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.SymbolLookup;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Who may know whom. Plain JUnit with ArchUnit's core: its own JUnit engine is one for JUnit 5. */
class ModuleRulesTest {

  private static final String LINUX = "dev.postcopy.linux..";
  private static final String SOURCE = "dev.postcopy.source..";
  private static final String DESTINATION = "dev.postcopy.dest..";
  private static final String[] COMMON = {
    "dev.postcopy.cli..",
    "dev.postcopy.control..",
    "dev.postcopy.daemon..",
    "dev.postcopy.journal..",
    "dev.postcopy.jvm..",
    "dev.postcopy.logging..",
    "dev.postcopy.memory..",
    "dev.postcopy.metrics..",
    "dev.postcopy.qmp..",
    "dev.postcopy.transport..",
    "dev.postcopy.wire.."
  };

  private static final JavaClasses CLASSES =
      new ClassFileImporter()
          .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
          // What the modules lend each other for their tests.
          .withImportOption(location -> !location.contains("-tests.jar"))
          .importPackages("dev.postcopy");

  /** A rule about classes that were not found would hold. */
  @ParameterizedTest
  @ValueSource(
      strings = {
        "dev.postcopy.cli.Refusal",
        "dev.postcopy.control.ControlSocket",
        "dev.postcopy.daemon.MigrationTable",
        "dev.postcopy.journal.Journal",
        "dev.postcopy.linux.Userfaultfd",
        "dev.postcopy.linux.abi.Downcalls",
        "dev.postcopy.memory.PageBitmap",
        "dev.postcopy.metrics.LatencyRecorder",
        "dev.postcopy.qmp.QmpClient",
        "dev.postcopy.transport.Connection",
        "dev.postcopy.wire.FrameReader",
        "dev.postcopy.source.page.PageWriter",
        "dev.postcopy.dest.page.PagePlacer"
      })
  void theClassesOfEveryModuleAreLookedAt(String name) {
    assertThat(CLASSES.contain(name)).as("%s was found", name).isTrue();
  }

  @Test
  void onlyTheLinuxPackageCallsIntoTheKernel() {
    noClasses()
        .that()
        .resideOutsideOfPackage(LINUX)
        .should()
        .dependOnClassesThat()
        .belongToAnyOf(Linker.class, FunctionDescriptor.class, SymbolLookup.class)
        .because("native calls belong in one place, where their layouts are tested")
        .check(CLASSES);
  }

  @Test
  void onlyTheLinuxPackageKnowsItsRawLayerButForConstants() {
    noClasses()
        .that()
        .resideOutsideOfPackage(LINUX)
        .should()
        .dependOnClassesThat()
        .haveNameMatching("dev\\.postcopy\\.linux\\.abi\\.(?!Errno|Uffd).*")
        .because("outside of it only the kernel's numbers are of use")
        .check(CLASSES);
  }

  @Test
  void theKernelAndThePagesDoNotKnowTheNetwork() {
    noClasses()
        .that()
        .resideInAnyPackage(LINUX, "dev.postcopy.memory..")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("io.netty..")
        .check(CLASSES);
  }

  @Test
  void theSourceDoesNotKnowTheDestination() {
    noClasses()
        .that()
        .resideInAPackage(SOURCE)
        .should()
        .dependOnClassesThat()
        .resideInAPackage(DESTINATION)
        .because("they talk over the wire only")
        .check(CLASSES);
  }

  @Test
  void theDestinationDoesNotKnowTheSource() {
    noClasses()
        .that()
        .resideInAPackage(DESTINATION)
        .should()
        .dependOnClassesThat()
        .resideInAPackage(SOURCE)
        .because("they talk over the wire only")
        .check(CLASSES);
  }

  @Test
  void theCommonPackagesKnowNeitherTheKernelNorAnAgent() {
    noClasses()
        .that()
        .resideInAnyPackage(COMMON)
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage(LINUX, SOURCE, DESTINATION)
        .check(CLASSES);
  }

  @Test
  void theLinuxPackageKnowsNothingElseOfTheProject() {
    noClasses()
        .that()
        .resideInAPackage(LINUX)
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage(COMMON)
        .orShould()
        .dependOnClassesThat()
        .resideInAnyPackage(SOURCE, DESTINATION)
        .check(CLASSES);
  }

  @Test
  void onlyCommandsWriteToStandardStreams() {
    noClasses()
        .that()
        .resideOutsideOfPackage("dev.postcopy..cli..")
        .should(ACCESS_STANDARD_STREAMS)
        .because("standard output is the report's; everything else logs")
        .check(CLASSES);
  }
}
