"""A board's /sys and /proc as files, to be changed at will."""


class FakeBoard:
    """Files below a folder; `cpus` gives (kHz now, kHz at most) of each processor."""

    def __init__(self, root, governor="performance", cpus=((1_500_000, 1_500_000),) * 4, degrees=48.0):
        self.root = root
        for number, (now, most) in enumerate(cpus):
            place = f"sys/devices/system/cpu/cpu{number}/cpufreq"
            self.write(f"{place}/scaling_governor", governor)
            self.write(f"{place}/scaling_cur_freq", now)
            self.write(f"{place}/scaling_max_freq", most)
            self.write(f"{place}/scaling_min_freq", 600_000)
            self.write(f"{place}/cpuinfo_max_freq", most)
        self.heat(degrees)
        self.write("proc/loadavg", "0.10 0.05 0.01 1/100 1234")
        self.write("proc/meminfo", "MemTotal: 4000000 kB\nMemAvailable: 3000000 kB")
        self.pressure(0.5)

    def write(self, name, value):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")

    def heat(self, degrees):
        self.write("sys/class/thermal/thermal_zone0/temp", round(degrees * 1000))

    def pressure(self, percent):
        self.write(
            "proc/pressure/cpu", f"some avg10={percent:.2f} avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00"
        )

    def throttle(self, bits):
        self.write("sys/devices/platform/soc/soc:firmware/get_throttled", f"{bits:x}")
